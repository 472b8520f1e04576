"""Layers are named by where their module stands, whatever way it got there."""

from __future__ import annotations

from tests.attribution.conftest import Cases

PROGRAM = "structure.py"


def test_a_module_in_two_places_is_named_after_where_it_was_called(cases: Cases) -> None:
    case = cases("shared_by_two_parents")
    assert case.calls() == {"Both": 2, "left": 2, "right": 2, "left.inner": 2, "right.inner": 2}
    assert set(case.carried("AddmmBackward0", "backward")) == {"left.inner", "right.inner"}
    # Its parameters have one gradient: it goes to the place that was called first.
    assert set(case.carried("torch::autograd::AccumulateGrad", "backward")) == {"left.inner"}


def test_a_module_under_two_names_of_one_parent_lists_both(cases: Cases) -> None:
    case = cases("shared_under_two_names")
    assert case.calls() == {"Twice": 2, "encoder|decoder": 4}
    assert case.carried("AddmmBackward0", "backward") == {"encoder|decoder": 4}


def test_tied_weights_keep_their_users_apart(cases: Cases) -> None:
    case = cases("tied_weights")
    assert set(case.carried("%mm", "backward")) == {"head"}
    assert set(case.carried("EmbeddingBackward0", "backward")) == {"token"}
    assert set(case.carried("torch::autograd::AccumulateGrad", "backward")) == {"token"}


def test_a_sequential_in_a_module_list_has_its_whole_name(cases: Cases) -> None:
    case = cases("sequential_in_module_list")
    expected = {"Stages", "stages.0", "stages.1"} | {f"stages.{i}.{j}" for i in (0, 1) for j in (0, 1)}
    assert case.layers() == expected
    assert case.carried("TanhBackward0", "backward") == {"stages.0.1": 2, "stages.1.1": 2}


def test_a_module_dict_names_by_key(cases: Cases) -> None:
    assert cases("module_dict").layers() == {"Branches", "branches.a", "branches.b"}


def test_names_with_null_characters_and_lone_surrogates_are_written_out(cases: Cases) -> None:
    case = cases("names_that_are_no_c_strings")
    written = (r"outer.a\x00b", r"outer.c\udc80d")
    assert case.layers() == {"Odd", "outer", *written, *(f"{name}.0" for name in written)}
    assert set(case.carried("AddmmBackward0", "backward")) == {f"{name}.0" for name in written}


def test_recurrent_modules_count_every_call(cases: Cases) -> None:
    case = cases("recurrent")
    assert case.calls() == {"Recurrent": 1, "lstm": 2, "gru": 1, "cell": 6, "head": 1}
    assert {"lstm", "gru", "cell", "head"} <= set(case.carried("%", "backward"))
    assert None not in case.carried("%Mm%Backward0", "backward")
    assert None not in case.carried("%mm", "backward")


def test_functional_attention_and_parametrized_weights_have_a_place(cases: Cases) -> None:
    case = cases("attention_and_parametrization")
    assert {"Attend", "attention", "smooth", "smooth.parametrizations.weight.0"} <= case.layers()
    assert set(case.carried("%mm", "backward")) <= {"attention", "smooth"}
    assert None not in case.carried("torch::autograd::AccumulateGrad", "backward")


def test_two_roots_with_layers_of_one_name_prefix_them(cases: Cases) -> None:
    case = cases("two_roots")
    assert case.layers() == {"Net", "Other", "Net.first", "Net.last", "Other.first", "Other.last"}
    assert case.carried("AddmmBackward0", "backward") == dict.fromkeys(
        ("Net.first", "Net.last", "Other.first", "Other.last"), 1
    )


def test_two_roots_without_a_common_name_need_no_prefix(cases: Cases) -> None:
    layers = cases("two_roots_without_collision").layers()
    assert layers == {"Net", "first", "last", "Chain", "parts.0", "parts.1"}


def test_a_second_root_of_a_class_is_numbered(cases: Cases) -> None:
    layers = cases("same_class_twice").layers()
    assert layers == {"Net", "Net#2", "Net.first", "Net.last", "Net#2.first", "Net#2.last"}


def test_a_root_after_a_dead_one_takes_its_name(cases: Cases) -> None:
    case = cases("same_class_one_after_the_other")
    assert case.calls() == {"Net": 6, "first": 6, "last": 6}


def test_an_averaged_copy_is_a_root_of_its_own(cases: Cases) -> None:
    case = cases("averaged_copy")
    assert case.calls()["Net#2.first"] == 2
    assert set(case.carried("AddmmBackward0", "backward")) == {"Net.first", "Net.last"}


def test_an_averaged_model_does_not_hide_the_model(cases: Cases) -> None:
    layers = cases("swa").layers()
    assert layers == {"Net", "Net#2", "Net.first", "Net.last", "Net#2.first", "Net#2.last"}


def test_the_distributed_wrapper_leaves_no_trace_in_names(cases: Cases) -> None:
    case = cases("distributed")
    assert case.calls() == {"Net": 3, "first": 3, "last": 3}
    assert set(case.carried("AddmmBackward0", "backward")) == {"first", "last"}


def test_a_renamed_module_has_its_new_name(cases: Cases) -> None:
    assert cases("renamed").calls() == {"Net": 2, "first": 1, "renamed": 1, "last": 2}


def test_a_shortened_list_is_named_anew(cases: Cases) -> None:
    assert cases("list_shortened").calls() == {"Chain": 2, "parts.0": 2, "parts.1": 2, "parts.2": 1}


def test_a_lengthened_list_is_named_anew(cases: Cases) -> None:
    assert cases("list_lengthened").calls() == {"Chain": 2, "parts.0": 2, "parts.1": 2, "parts.2": 1, "parts.3": 1}


def test_a_reordered_list_is_named_anew(cases: Cases) -> None:
    case = cases("list_reordered")
    assert case.calls() == {"Chain": 2, "parts.0": 2, "parts.1": 2}
    assert case.carried("AddmmBackward0", "backward") == {"parts.0": 2, "parts.1": 1}


def test_a_shortened_sequential_is_named_anew(cases: Cases) -> None:
    assert cases("sequential_shortened").calls() == {"Sequential": 2, "0": 2, "1": 2, "2": 2}


def test_a_replaced_module_carries_its_name_on(cases: Cases) -> None:
    case = cases("replaced")
    assert case.calls() == {"Net": 2, "first": 2, "last": 2}
    assert None not in case.carried("torch::autograd::AccumulateGrad", "backward")
