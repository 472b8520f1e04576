"""Backward operators find their layer, and phases and steps hold, in every way that gradients are taken."""

from __future__ import annotations

from tests.attribution.conftest import Cases, Recorded

PROGRAM = "gradients.py"


def phases(case: Recorded, name: str) -> dict[str, int]:
    return dict(case.rows(f"SELECT phase, count(*) FROM mine WHERE name LIKE '{name}' GROUP BY phase"))


def test_a_custom_function_gives_its_backward_to_its_layer(cases: Cases) -> None:
    case = cases("custom_function")
    assert case.carried("CubeBackward", "backward") == {"1": 2}
    assert case.carried("aten::cosh", "backward") == {"1": 2}


def test_the_second_backward_finds_the_layers_of_the_first(cases: Cases) -> None:
    case = cases("double_backward")
    assert case.rows("SELECT count(*) FROM mine WHERE kind = 'phase' AND name = 'backward'") == [(2,)]
    assert case.carried("TanhBackwardBackward0", "backward") == {"Net": 1}
    assert {"first", "last"} <= set(case.carried("%mm", "backward"))
    assert None not in case.carried("%mm", "backward")


def test_a_graph_run_thrice_is_attributed_thrice(cases: Cases) -> None:
    case = cases("retained_graph")
    assert case.carried("TanhBackward0", "backward") == {"Net": 3}
    assert case.carried("AddmmBackward0", "backward") == {"first": 3, "last": 3}


def test_functional_gradients_carry_layers(cases: Cases) -> None:
    case = cases("functional_call")
    assert case.facts["agree"]
    assert case.calls() == {"Net": 2, "first": 2, "last": 2}
    backward = case.carried("TanhBackward0", "backward")
    assert set(backward) == {"Net"}


def test_a_closure_is_forward_and_backward_inside_the_optimizer(cases: Cases) -> None:
    case = cases("closure")
    assert case.steps() == 4
    assert set(phases(case, "AddmmBackward0")) == {"backward"}
    assert set(case.carried("AddmmBackward0", "backward")) == {"first", "last"}


def test_a_layer_called_by_a_closure_is_forward(cases: Cases) -> None:
    case = cases("closure")
    assert set(phases(case, "Net")) == {"forward"}
    assert set(phases(case, "aten::addmm")) == {"forward"}


def test_a_scaler_steps_as_its_optimizer(cases: Cases) -> None:
    case = cases("scaler")
    assert case.steps() == 4
    assert set(phases(case, "Optimizer.step#SGD.step")) == {"optimizer"}
    assert {"first", "last"} <= set(case.carried("%mm", "backward"))


def test_accumulated_gradients_are_one_step(cases: Cases) -> None:
    case = cases("accumulation")
    assert case.steps() == 3
    assert case.rows("SELECT count(*) FROM mine WHERE kind = 'phase' AND name = 'backward'") == [(12,)]
    assert case.carried("TanhBackward0", "backward") == {"Net": 12}
    assert phases(case, "Optimizer.zero_grad#AdamW.zero_grad") == {"optimizer": 3}
    assert case.rows("SELECT DISTINCT layer FROM mine WHERE phase = 'optimizer'") == [(None,)]


def test_without_an_optimizer_a_step_is_a_call_of_the_root(cases: Cases) -> None:
    assert cases("inference").steps() == 5


def test_two_optimizers_in_turn_make_one_step(cases: Cases) -> None:
    assert cases("alternating_optimizers").steps() == 3


def test_a_hessian_carries_layers(cases: Cases) -> None:
    case = cases("autograd_functional")
    assert set(case.carried("TanhBackward0", "backward")) == {"Net"}
    assert None not in case.carried("%mm", "backward")


def test_a_module_called_by_a_tensor_hook_is_backward(cases: Cases) -> None:
    case = cases("module_in_a_tensor_hook")
    assert case.rows("SELECT count(*) FROM mine WHERE kind = 'layer' AND phase = 'backward'") == [(1,)]
