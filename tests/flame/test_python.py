"""The view of Python stacks, of a program that was recorded with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_prof.analysis.stacks import stack_sums
from deepseek_prof.errors import QueryError
from deepseek_prof.exporters.registry import Selection
from deepseek_prof.exporters.speedscope import selected_profiles, speedscope_file
from deepseek_prof.query import Table, compile_query
from deepseek_prof.trace.run import Run
from tests.flame.drawing import total_of
from tests.support.recording import open_run


@pytest.fixture(scope="module")
def stacks_run(sampled: Path) -> Iterator[Run]:
    with open_run(sampled) as run:
        yield run


def selected(query: str) -> Selection:
    return Selection(compile_query(query) if query else None, query)


def test_stacks_end_in_the_layer_and_the_operator(stacks_run: Run) -> None:
    (profile,) = selected_profiles(stacks_run, selected(""), "python")
    sums = stack_sums(stacks_run)
    assert profile.total == sum(each.ns for each in sums)
    assert sum(stack.count for stack in profile.stacks) == sum(each.count for each in sums)
    in_slow = sum(each.ns for each in sums if each.layer == "0")
    assert total_of(profile, "0", "layer") == in_slow > 0
    spinning = [stack.path for stack in profile.stacks if any("spin" in frame.name for frame in stack.path)]
    assert ("0", "layer") in {(path[-1].name, path[-1].kind) for path in spinning}


def test_functions_have_their_file_and_line(stacks_run: Run) -> None:
    content = speedscope_file("x", selected_profiles(stacks_run, selected(""), "python"))
    assert b'{"name":"Slow.spin","file":"' in content or b'{"name":"spin","file":"' in content
    assert b'program.py","line":' in content


def test_a_query_selects_samples_where_it_can_be_asked_of_them(stacks_run: Run) -> None:
    (profile,) = selected_profiles(stacks_run, selected("layer:0"), "python")
    condition = compile_query("layer:0", Table.SAMPLES)
    assert profile.total == sum(each.ns for each in stack_sums(stacks_run, condition))
    assert [each.name.split(" ")[0] for each in selected_profiles(stacks_run, selected("layer:0"))][-1] == "Python"
    with pytest.raises(QueryError, match="dur"):
        selected_profiles(stacks_run, selected("dur>1us"), "python")
    names = [each.name for each in selected_profiles(stacks_run, selected("dur>1us"))]
    assert names == ["layers · host time", "operators · host time"]
