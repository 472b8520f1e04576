"""Differences of two runs whose every figure can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from deepseek_prof.analysis.diff import BY, DiffRow, DiffTable, diff
from deepseek_prof.analysis.groups import OUTSIDE_LAYERS
from deepseek_prof.analysis.per_step import OUTSIDE_OPERATORS
from deepseek_prof.errors import UsageError
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.support.drawn import Node, module, op, write_drawn_run

US = 1_000
Durations = dict[str, float]


def net(times: Durations, seed: int, slow: Sequence[int] = ()) -> Callable[[int, int], list[Node]]:
    """Layers below ``net``, each with one operator of about that many microseconds; slow steps take tenfold."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(1, 0.05, size=(500, len(times)))

    def draw(rank: int, step: int) -> list[Node]:
        factor = 10 if step in slow else 1
        children = [
            module(name, ns + 10 * US, op(f"aten::{name}", ns))
            for name, ns in (
                (name, int(us * US * factor * noise[step, index])) for index, (name, us) in enumerate(times.items())
            )
        ]
        whole = module("net", sum(each.ns for each in children) + 5 * US, *children)
        return [whole, op("aten::outside", 20 * US)]

    return draw


def compare(
    folder: Path,
    before: Callable[[int, int], list[Node]],
    after: Callable[[int, int], list[Node]],
    by: str = "layer",
    query: str = "",
    *,
    steps: tuple[int, int] = (30, 40),
    with_steps: tuple[bool, bool] = (True, True),
    ranks: int = 1,
    **options: object,
) -> DiffTable:
    paths = [
        write_drawn_run(folder / name, draw, steps=count, with_steps=each, ranks=ranks)
        for name, draw, count, each in zip("ab", (before, after), steps, with_steps, strict=True)
    ]
    with Run.open(paths[0]) as a, Run.open(paths[1]) as b:
        return diff(a, b, by, compile_query(query) if query else None, limit=None, **options)  # type: ignore[arg-type]  # options of diff


def rows_of(table: DiffTable) -> dict[str, DiffRow]:
    return {row.name: row for row in table.rows}


BEFORE = {"same": 100.0, "slow": 100.0, "gone": 50.0, "fast": 400.0}
AFTER = {"same": 100.0, "slow": 150.0, "fast": 200.0, "new": 30.0}


def test_layers_that_changed_were_added_or_removed(tmp_path: Path) -> None:
    found = rows_of(compare(tmp_path, net(BEFORE, 1), net(AFTER, 2)))
    assert {name: row.verdict for name, row in found.items()} == {
        "same": "inconclusive",
        "slow": "slower",
        "fast": "faster",
        "gone": "removed",
        "new": "added",
        "net": "inconclusive",
        OUTSIDE_LAYERS: "inconclusive",
    }
    slow = found["slow"]
    assert slow.before_ns == pytest.approx(110 * US, rel=0.05)
    assert slow.after_ns == pytest.approx(160 * US, rel=0.05)
    assert slow.low_ns is not None
    assert slow.high_ns is not None
    assert slow.low_ns < 50 * US < slow.high_ns
    assert slow.ratio == pytest.approx(160 / 110, rel=0.05)
    assert (slow.before_calls, slow.after_calls) == (1, 1)
    assert (found["new"].before_ns, found["new"].ratio, found["new"].low_ns) == (None, None, None)
    assert (found["gone"].after_ns, found["gone"].after_calls) == (None, None)
    assert found["gone"].delta_ns == -(found["gone"].before_ns or 0)


@pytest.mark.parametrize("by", BY)
def test_entries_add_up_to_the_total_and_the_total_to_the_step(tmp_path: Path, by: str) -> None:
    table = compare(tmp_path, net(BEFORE, 1), net(AFTER, 2), by)
    for side in ("before_ns", "after_ns"):
        added = sum(getattr(row, side) or 0 for row in table.rows)
        assert added == pytest.approx(getattr(table.total, side), abs=1e-3)
        assert table.step is not None
        assert getattr(table.total, side) == pytest.approx(getattr(table.step, side), abs=1e-3)
    assert table.total.before_calls is not None
    assert len(rows_of(table)) == len(table.rows) == table.groups


def test_python_inside_layers_is_kept_apart_from_operators(tmp_path: Path) -> None:
    found = rows_of(compare(tmp_path, net(BEFORE, 1), net(AFTER, 2), "op"))
    assert found[OUTSIDE_OPERATORS].before_ns == 45 * US
    assert found["aten::gone"].verdict == "removed"
    assert found["aten::slow"].verdict == "slower"
    assert rows_of(compare(tmp_path / "t", net(BEFORE, 1), net(AFTER, 2), "type"))["other"].type == ""


def test_a_query_chooses_the_spans(tmp_path: Path) -> None:
    table = compare(tmp_path, net(BEFORE, 1), net(AFTER, 2), query="layer:slow")
    assert [row.name for row in table.rows] == ["slow"]
    assert table.total.before_ns == table.rows[0].before_ns
    assert table.step is not None
    assert table.step.before_ns is not None
    assert table.step.before_ns > 600 * US


def test_warm_up_is_left_out_unless_the_query_asks_for_it(tmp_path: Path) -> None:
    slow = (0, 1)
    table = compare(tmp_path, net(BEFORE, 1, slow), net(BEFORE, 2))
    assert (table.before_warmup, table.after_warmup) == (2, 0)
    assert (table.total.before_steps, table.total.after_steps) == (28, 40)
    assert table.total.verdict == "inconclusive"
    asked = compare(tmp_path / "asked", net(BEFORE, 1, slow), net(BEFORE, 2), query="step:0..5")
    assert (asked.before_warmup, asked.total.before_steps, asked.total.after_steps) == (0, 6, 6)
    assert asked.total.before_ns is not None
    assert asked.total.after_ns is not None
    assert asked.total.before_ns > 3 * asked.total.after_ns


def test_changes_below_the_least_one_do_not_count(tmp_path: Path) -> None:
    before, after = net({"a": 1000.0}, 1), net({"a": 1100.0}, 2)
    assert rows_of(compare(tmp_path / "low", before, after, min_change=0.05))["a"].verdict == "slower"
    assert rows_of(compare(tmp_path / "high", before, after, min_change=0.25))["a"].verdict == "inconclusive"


def test_a_noisy_entry_is_inconclusive(tmp_path: Path) -> None:
    slow = (7, 15, 22)
    table = compare(tmp_path, net({"a": 100.0}, 1, slow), net({"a": 120.0}, 2, slow))
    assert rows_of(table)["a"].verdict == "inconclusive"
    medians = compare(tmp_path / "m", net({"a": 100.0}, 1, slow), net({"a": 120.0}, 2, slow), statistic="median")
    assert rows_of(medians)["a"].verdict == "slower"


def test_only_what_changed_can_be_asked_for(tmp_path: Path) -> None:
    table = compare(tmp_path, net(BEFORE, 1), net(AFTER, 2), changed_only=True)
    assert {row.name for row in table.rows} == {"slow", "fast", "gone", "new"}
    assert (table.changed, table.groups) == (4, 7)


def test_an_entry_that_a_run_knows_but_did_not_run_is_not_added(tmp_path: Path) -> None:
    def rare(rank: int, step: int) -> list[Node]:
        return [op("aten::always", 100 * US), *([op("aten::rare", 900 * US)] if step == 0 else [])]

    def often(rank: int, step: int) -> list[Node]:
        return [op("aten::always", 100 * US), op("aten::rare", 50 * US)]

    row = rows_of(compare(tmp_path, rare, often, "op"))["aten::rare"]
    assert (row.verdict, row.before_ns, row.ratio, row.after_ns) == ("slower", 0, None, 50 * US)


def test_runs_without_steps_are_compared_as_a_whole_and_nothing_is_said_of_noise(tmp_path: Path) -> None:
    table = compare(tmp_path, net(BEFORE, 1), net(AFTER, 2), steps=(3, 3), with_steps=(False, False))
    found = rows_of(table)
    assert table.step is None
    assert found["slow"].before_ns == pytest.approx(330 * US, rel=0.1)
    assert {row.verdict for row in table.rows} == {"unknown", "added", "removed"}
    assert {row.low_ns for row in table.rows} == {None}
    assert table.judged == 0
    assert "No steps in either run" in table.notes[0]


def test_a_run_without_steps_beside_one_with(tmp_path: Path) -> None:
    table = compare(tmp_path, net(BEFORE, 1), net(BEFORE, 2), with_steps=(True, False))
    assert {row.verdict for row in table.rows} == {"unknown"}
    assert "The second run has no steps" in table.notes[0]


def test_few_steps_say_nothing_of_noise(tmp_path: Path) -> None:
    table = compare(tmp_path, net(BEFORE, 1), net(AFTER, 2), steps=(3, 30))
    assert {row.verdict for row in table.rows} == {"unknown", "added", "removed"}
    assert "fewer than 5 steps" in table.notes[0]


def test_ranks_count_as_their_mean(tmp_path: Path) -> None:
    def draw(rank: int, step: int) -> list[Node]:
        return [op("aten::mm", (100 + 100 * rank) * US)]

    table = compare(tmp_path, draw, draw, "op", ranks=2)
    assert table.total.before_steps == 30
    assert table.rows[0].before_ns == 150 * US
    assert table.rows[0].before_calls == 1


def test_a_run_with_itself_and_a_run_of_nothing(tmp_path: Path) -> None:
    path = write_drawn_run(tmp_path / "one", net(BEFORE, 1), steps=20)
    empty = write_drawn_run(tmp_path / "empty")
    with Run.open(path) as a, Run.open(empty) as nothing:
        same = diff(a, a)
        assert same.changed == 0
        assert {row.delta_ns for row in same.rows} == {0}
        assert {row.verdict for row in diff(a, nothing).rows} == {"removed"}
        assert diff(nothing, nothing).rows == ()
        assert diff(a, a, condition=compile_query("op:nothing")).rows == ()
        assert diff(a, a, condition=compile_query("step:900..901")).rows == ()


@pytest.mark.parametrize("options", [{"by": "step"}, {"statistic": "mode"}, {"limit": -1}, {"min_change": -0.1}])
def test_what_does_not_fit_is_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with Run.open(write_drawn_run(tmp_path / "one")) as run, pytest.raises(UsageError):
        diff(run, run, **options)  # type: ignore[arg-type]  # what does not fit
