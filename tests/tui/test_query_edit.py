"""Facets and layers change the query as text; what it selects otherwise stays."""

from __future__ import annotations

import pytest

from deepseek_prof.query import Table, compile_query, evaluate, parse
from deepseek_prof.tui.layer_browser import subtree_globs
from deepseek_prof.tui.query_edit import chosen, chosen_numbers, toggled, with_globs, with_values
from tests.tui.drawing import HOSTILE


@pytest.mark.parametrize(
    ("query", "field", "value", "expected"),
    [
        ("", "type", "matmul", "type:matmul"),
        ("type:matmul", "type", "conv", "type:conv,matmul"),
        ("type:conv,matmul", "type", "conv", "type:matmul"),
        ("type:matmul", "type", "matmul", ""),
        ("dur>1ms type:matmul step:3", "type", "matmul", "dur>1ms step:3"),
        ("rank:0 or rank:3", "type", "norm", "(rank:0 or rank:3) type:norm"),
        ("-type:matmul", "type", "conv", "-type:matmul type:conv"),
        ("", "tid", "4200", "tid:4200"),
        ("tid:7,4200", "tid", "7", "tid:4200"),
        ("gelu", "phase", "forward", "gelu phase:forward"),
    ],
)
def test_a_value_comes_and_goes(query: str, field: str, value: str, expected: str) -> None:
    assert parse(toggled(query, field, value)) == parse(expected)


def test_chosen_values_are_those_that_stand_alone() -> None:
    assert chosen("type:matmul,conv dur>1us", "type") == {"matmul", "conv"}
    assert chosen("type:mat* dur>1us", "type") == frozenset()
    assert chosen("-type:matmul", "type") == frozenset()
    assert chosen_numbers("tid:4,9..12", "tid") == {"4"}


@pytest.mark.parametrize("name", [name for name in HOSTILE.values() if name])
def test_any_name_can_be_chosen(name: str) -> None:
    query = with_values("dur>0ns", "layer", [name])
    tree = parse(query)
    assert evaluate(tree, {"layer": name, "dur_ns": 5}, Table.SPANS)
    assert not evaluate(tree, {"layer": f"{name}x", "dur_ns": 5}, Table.SPANS)


PARENTS = {
    "Net": None,
    "embedding": "Net",
    "encoder.1": "Net",
    "encoder.1.norm": "encoder.1",
    "encoder.1.attention out": "encoder.1",
    "encoder.10": "Net",
    "encoder.10.norm": "encoder.10",
}


def selected(globs: tuple[str, ...]) -> set[str]:
    tree = parse(with_globs("", "layer", globs))
    return {name for name in PARENTS if evaluate(tree, {"layer": name}, Table.SPANS)}


def test_a_layer_is_chosen_with_all_below_it_and_nothing_beside_it() -> None:
    assert selected(subtree_globs("encoder.1", PARENTS)) == {
        "encoder.1",
        "encoder.1.norm",
        "encoder.1.attention out",
    }
    assert selected(subtree_globs("embedding", PARENTS)) == {"embedding"}
    assert selected(subtree_globs("Net", PARENTS)) == set(PARENTS)


def test_one_of_two_roots_is_chosen_without_the_other() -> None:
    parents = {**PARENTS, "Other": None, "other": "Other", "other.norm": "other"}
    tree = parse(with_globs("", "layer", subtree_globs("Other", parents)))
    assert {name for name in parents if evaluate(tree, {"layer": name}, Table.SPANS)} == {
        "Other",
        "other",
        "other.norm",
    }


def test_the_clause_of_a_layer_compiles() -> None:
    assert compile_query(with_globs("type:norm", "layer", subtree_globs("encoder.1", PARENTS))).params
