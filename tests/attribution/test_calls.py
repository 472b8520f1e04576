"""Layers stay right, or honestly empty, however their modules are called; programs behave as without us."""

from __future__ import annotations

import pytest

from tests.attribution.conftest import Cases

PROGRAM = "calls.py"


@pytest.mark.parametrize("kind", ["reentrant", "non_reentrant"])
def test_checkpointed_blocks_are_recomputed_under_their_own_names(cases: Cases, kind: str) -> None:
    case = cases(f"checkpoint_{kind}")
    expected = {f"blocks.{i}{inner}" for i in (0, 1) for inner in ("", ".inner")}
    assert case.layers("forward") == {"Checkpointed", "head"} | expected
    assert case.layers("backward") == expected
    assert case.carried("TanhBackward0", "backward") == {"blocks.0": 2, "blocks.1": 2}
    assert case.carried("AddmmBackward0", "backward") == {"blocks.0.inner": 2, "blocks.1.inner": 2, "head": 2}
    assert case.carried("aten::tanh", "backward") == {"blocks.0": 2, "blocks.1": 2}


def test_functional_code_outside_any_module_has_no_layer(cases: Cases) -> None:
    case = cases("functional_only")
    assert case.layers() == set()
    assert case.share("backward") == 0
    assert case.share("forward") == 0


def test_functional_code_beside_a_module_does_not_borrow_its_layers(cases: Cases) -> None:
    case = cases("functional_beside_a_module")
    assert case.carried("MmBackward0", "backward") == {None: 1}
    assert case.carried("SumBackward0", "backward") == {None: 1}
    assert case.carried("AddmmBackward0", "backward") == {"first": 1, "last": 1}


def test_forward_hooks_belong_to_their_module(cases: Cases) -> None:
    case = cases("forward_hooks")
    assert case.carried("aten::sinh", "forward") == {"first": 2}
    assert case.carried("aten::cosh", "forward") == {"first": 2}
    assert case.carried("SinhBackward0", "backward") == {}  # its input needs no gradient
    assert case.carried("CoshBackward0", "backward") == {"first": 2}
    assert case.carried("aten::erf", "backward") == {"last": 2}


def test_a_subclass_with_its_own_call_is_a_layer_if_it_calls_its_parent(cases: Cases) -> None:
    case = cases("own_call")
    assert case.calls() == {
        "Both": 1,
        **dict.fromkeys(("doubling", "doubling.first", "doubling.last", "bypassing.first", "bypassing.last"), 1),
    }
    assert case.carried("SinhBackward0", "backward") == {"Both": 1}
    assert case.carried("CoshBackward0", "backward") == {"Both": 1}


def test_a_program_that_patches_module_call_is_still_recorded(cases: Cases) -> None:
    case = cases("patched_call")
    assert case.facts["seen"] == ["Net", "Linear", "Linear"]
    assert case.calls() == {"Net": 1, "first": 1, "last": 1}


def test_modules_without_gradients_are_forward(cases: Cases) -> None:
    case = cases("no_grad")
    assert case.calls() == {"Net": 2, "first": 2, "last": 2}
    assert case.carried("aten::addmm", "forward") == {"first": 2, "last": 2}
    assert case.rows("SELECT DISTINCT phase FROM mine WHERE kind = 'op' AND layer IS NOT NULL") == [("forward",)]


def test_an_exception_in_forward_leaves_no_layer_open(cases: Cases) -> None:
    case = cases("exceptions")
    assert case.facts["caught"] == ["RuntimeError", "ValueError"]
    assert case.calls() == {"Failing": 3, "inner": 3, "last": 1}
    depths = case.rows("SELECT DISTINCT name, depth FROM mine JOIN contexts USING (context_id, name) ORDER BY name")
    assert {("Failing", 0), ("inner", 1), ("last", 1)} <= set(depths)
    assert {depth for name, depth in depths if name == "Failing"} == {0}
    assert set(case.carried("AddmmBackward0", "backward")) == {"inner", "last"}


def test_an_exception_in_backward_leaves_no_phase_open(cases: Cases) -> None:
    case = cases("exception_in_backward")
    assert case.facts["caught"] == 1
    assert case.calls("forward") == {"Net": 2, "first": 2, "last": 2}
    assert case.calls("backward") == {}
    assert case.rows("SELECT count(*) FROM mine WHERE kind = 'phase' AND name = 'backward'") == [(2,)]


def test_a_generator_gives_its_operators_to_no_layer(cases: Cases) -> None:
    case = cases("generator")
    assert case.facts["rows"] == 3
    assert case.calls() == {"Streaming": 1, "Linear": 3, "Net": 3, "first": 3, "last": 3}
    assert case.carried("SinhBackward0", "backward") == {None: 3}
    # The inner module runs when the generator is drained, outside the call of the one that holds it.
    assert set(case.carried("%mv%", "backward")) | set(case.carried("%mm%", "backward")) == {"Linear", "first", "last"}


def test_threads_that_share_a_model_do_not_mix_their_layers(cases: Cases) -> None:
    case = cases("threads")
    assert case.facts["errors"] == []
    assert case.calls() == {"Net": 80, "first": 80, "last": 80}
    assert case.carried("AddmmBackward0", "backward") == {"first": 80, "last": 80}
    assert case.carried("ReluBackward0", "backward") == {"Net": 80}
    assert case.rows("SELECT count(DISTINCT tid) FROM mine WHERE name = 'Net'") == [(4,)]


def test_modules_are_copied_and_pickled_as_without_us(cases: Cases) -> None:
    case = cases("copies")
    assert case.facts["same"] == [True, True, True]
    assert not [name for name in case.facts["own_state"] if "deepseek" in name]
    assert case.calls()["Net"] == 1


def test_a_part_called_on_its_own_keeps_its_place(cases: Cases) -> None:
    case = cases("method_other_than_forward")
    assert case.calls() == {"Autoencoder": 1, "encoder": 2, "encoder.0": 2, "encoder.1": 2, "decoder": 1}
    assert case.carried("TanhBackward0", "backward") == {"encoder.1": 2}
