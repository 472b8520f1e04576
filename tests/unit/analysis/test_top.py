"""``top`` by every key, against numbers that were computed by hand; nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepseek_prof.analysis.results import TopRow, TopTable
from deepseek_prof.analysis.top import BY, top
from deepseek_prof.errors import UsageError
from deepseek_prof.query import compile_query, quoted
from deepseek_prof.trace.run import Run
from tests.support.drawn import PID, Node, gap, module, op, write_drawn_run
from tests.support.synthetic import write_synthetic_run


def draw(rank: int, step: int) -> tuple[Node, ...]:
    """100 ns forward in two layers, 200 ns of backward for one of them, 30 ns on a thread beside it."""
    node = Node(
        "AddmmBackward0",
        180,
        "autograd",
        "backward",
        "net.fc",
        (op("aten::mm", 170, phase="backward", layer="net.fc"),),
        ("net", "net.fc"),
    )
    return (
        module("net", 100, module("net.fc", 80, op("aten::linear", 70, op("aten::addmm", 60))), op("aten::add", 10)),
        Node("backward", 200, "phase", "backward", children=(node,)),
        gap(step),
        Node("aten::mm", 30, phase="data", tid=77),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Four steps of :func:`draw`."""
    path = write_drawn_run(tmp_path_factory.mktemp("runs") / "run", draw, steps=4)
    with Run.open(path) as opened:
        yield opened


def rows_of(table: TopTable) -> dict[str, TopRow]:
    assert len({row.name for row in table.rows}) == len(table.rows)
    return {row.name: row for row in table.rows}


def test_by_op(run: Run) -> None:
    table = top(run, "op")
    rows = rows_of(table)
    assert set(rows) == {"aten::linear", "aten::addmm", "aten::add", "aten::mm", "AddmmBackward0"}
    mm = rows["aten::mm"]
    assert (mm.type, mm.count, mm.self_ns, mm.total_ns, mm.max_ns) == ("matmul", 8, 800, 800, 170)
    assert (mm.forward_ns, mm.backward_ns) == (0, 680)
    assert mm.share == pytest.approx(800 / 1320)
    assert (rows["aten::linear"].self_ns, rows["aten::linear"].total_ns) == (40, 280)
    assert (table.groups, table.span_count, table.self_ns) == (5, 36, 4 * 330)


def test_by_type_counts_an_operator_in_one_of_its_type_once(run: Run) -> None:
    rows = rows_of(top(run, "type"))
    assert set(rows) == {"matmul", "elementwise"}
    assert (rows["matmul"].self_ns, rows["matmul"].total_ns) == (4 * (70 + 180 + 30), 4 * (70 + 180 + 30))
    assert rows["matmul"].count == 4 * 5


def test_by_layer(run: Run) -> None:
    rows = rows_of(top(run, "layer"))
    assert set(rows) == {"net", "net.fc"}
    net, fc = rows["net"], rows["net.fc"]
    assert (net.count, net.self_ns, net.total_ns, net.forward_ns, net.backward_ns) == (4, 80, 1120, 400, 720)
    assert (fc.count, fc.self_ns, fc.total_ns, fc.forward_ns, fc.backward_ns) == (4, 1040, 1040, 320, 720)


def test_by_phase_covers_everything_once(run: Run) -> None:
    rows = rows_of(top(run, "phase"))
    assert {name: row.self_ns for name, row in rows.items()} == {"forward": 400, "backward": 800, "data": 120}
    assert all(row.total_ns == row.self_ns for row in rows.values())
    assert sum(row.share for row in rows.values()) == pytest.approx(1)


def test_by_thread(run: Run) -> None:
    rows = rows_of(top(run, "thread"))
    main, beside = rows[f"rank 0 pid {PID} tid {PID}"], rows[f"rank 0 pid {PID} tid 77"]
    assert (main.count, main.self_ns, main.total_ns) == (32, 1200, 1200)
    assert (beside.count, beside.self_ns) == (4, 120)


def test_by_step(run: Run) -> None:
    rows = rows_of(top(run, "step"))
    assert {name: row.total_ns for name, row in rows.items()} == {"0": 300, "1": 301, "2": 302, "3": 303}
    assert all((row.count, row.self_ns) == (9, 330) for row in rows.values())
    assert (rows["2"].forward_ns, rows["2"].backward_ns) == (100, 200)


def test_steps_of_several_ranks_are_told_apart(tmp_path: Path) -> None:
    with Run.open(write_drawn_run(tmp_path / "run", draw, steps=2, ranks=2)) as run:
        assert set(rows_of(top(run, "step"))) == {f"rank {rank} step {step}" for rank in (0, 1) for step in (0, 1)}


def test_by_context_shows_the_path(run: Run) -> None:
    rows = rows_of(top(run, "context"))
    addmm = rows["net > net.fc > aten::linear > aten::addmm"]
    assert (addmm.type, addmm.layer, addmm.phase, addmm.count, addmm.self_ns) == ("matmul", "net.fc", "forward", 4, 240)
    assert rows["net > net.fc > AddmmBackward0"].phase == "backward"
    assert "step" not in rows


def test_a_recursive_operator_is_counted_once_in_total(tmp_path: Path) -> None:
    inner = op("aten::to", 40, op("aten::copy_", 10, op("aten::to", 5)))
    path = write_drawn_run(tmp_path / "run", lambda rank, step: (op("aten::to", 100, op("aten::_to_copy", 60, inner)),))
    with Run.open(path) as run:
        to = rows_of(top(run, "op"))["aten::to"]
        layers = top(run, "layer").rows
    assert (to.count, to.total_ns, to.self_ns, to.max_ns) == (3, 100, 40 + 30 + 5, 100)
    assert layers == ()


def test_a_recursive_module_is_counted_once_in_total(tmp_path: Path) -> None:
    tree = module("tree", 100, module("tree", 60, module("tree", 20, op("aten::mm", 15))))
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: (tree,))) as run:
        (row,) = top(run, "layer").rows
    assert (row.count, row.self_ns, row.total_ns, row.forward_ns) == (3, 100, 100, 100)


def test_an_operator_whose_caller_the_query_leaves_out_counts_by_itself(run: Run) -> None:
    table = top(run, "type", compile_query("op:aten::addmm"))
    assert [(row.name, row.total_ns, row.count) for row in table.rows] == [("matmul", 240, 4)]


@pytest.mark.parametrize("by", BY)
def test_shares_of_self_time_sum_to_the_selected_part(run: Run, by: str) -> None:
    table = top(run, by, limit=0)
    covered = sum(row.self_ns for row in table.rows)
    assert sum(row.share for row in table.rows) == pytest.approx(covered / table.self_ns)
    if by in ("phase", "step", "thread", "context"):
        assert covered == table.self_ns == 1320


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize(("sort", "key"), [("self", "self_ns"), ("total", "total_ns"), ("count", "count")])
def test_sorted_by_falling_figures(run: Run, by: str, sort: str, key: str) -> None:
    figures = [getattr(row, key) for row in top(run, by, sort=sort).rows]
    assert figures == sorted(figures, reverse=True)


def test_equals_are_sorted_by_name(tmp_path: Path) -> None:
    names = ["aten::c", "aten::a", "aten::b"]
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: [op(name, 5) for name in names])) as run:
        assert [row.name for row in top(run).rows] == sorted(names)


def test_the_limit_cuts_rows_and_nothing_else(run: Run) -> None:
    first, everything = top(run, limit=2), top(run, limit=None)
    assert first.rows == everything.rows[:2]
    assert (first.groups, first.span_count, first.self_ns) == (5, 36, 1320)
    assert top(run, limit=0) == everything


@pytest.mark.parametrize(("by", "sort", "limit"), [("colour", "self", 1), ("op", "name", 1), ("op", "self", -1)])
def test_what_does_not_fit_is_a_usage_error(run: Run, by: str, sort: str, limit: int) -> None:
    with pytest.raises(UsageError, match=r"colour|name|-1"):
        top(run, by, None, sort, limit)


@pytest.mark.parametrize("by", BY)
def test_an_empty_run_and_an_empty_selection_have_no_rows(tmp_path: Path, run: Run, by: str) -> None:
    with Run.open(write_drawn_run(tmp_path / "run", steps=0)) as empty:
        assert top(empty, by) == TopTable(by, "self", (), 0, 0, 0, evicted_included=False, evicted_left_out=False)
    assert top(run, by, compile_query("op:nothing")).rows == ()


@pytest.mark.parametrize("by", ["op", "type", "layer", "phase", "thread", "context"])
def test_sums_of_removed_spans_are_included(tmp_path: Path, by: str) -> None:
    whole = write_synthetic_run(tmp_path / "whole", steps=20, layers=1)
    evicted = write_synthetic_run(tmp_path / "evicted", steps=20, layers=1, evicted_steps=8)
    with Run.open(whole.path) as expected, Run.open(evicted.path) as run:
        table = top(run, by, limit=0)
        assert table.rows == top(expected, by, limit=0).rows
        assert (table.evicted_included, table.evicted_left_out) == (True, False)


def test_sums_of_removed_spans_cannot_answer_for_steps(tmp_path: Path) -> None:
    evicted = write_synthetic_run(tmp_path / "run", steps=20, layers=1, evicted_steps=8)
    with Run.open(evicted.path) as run:
        by_type = top(run, "op", compile_query("type:matmul"))
        by_length = top(run, "op", compile_query("dur>1us"))
        assert (by_type.evicted_included, by_type.evicted_left_out) == (True, False)
        assert (by_length.evicted_included, by_length.evicted_left_out) == (False, True)
        assert top(run, "step").evicted_left_out
        assert len(top(run, "step", limit=0).rows) == 12


@pytest.mark.parametrize("name", ["it's", "a'; DROP VIEW spans; --", '"', "%", "\\", "?", "$1", "\x1b[31m", "名"])
def test_a_name_is_data_in_grouping_and_in_queries(tmp_path: Path, name: str) -> None:
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: (op(name, 10), op("aten::mm", 5)))) as run:
        assert [row.name for row in top(run).rows] == [name, "aten::mm"]
        assert [row.name for row in top(run, "op", compile_query(f"op:{quoted(name)}")).rows] == [name]
