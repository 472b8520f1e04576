"""Every figure of a summary, against numbers that were computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.analysis.results import DataWait, Dropped, MemoryStat, PhaseShare, Summary, ThreadStat, Window
from deepseek_prof.analysis.summary import summarize
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.support.drawn import EPOCH_NS, PID, Draw, Node, gap, module, op, write_drawn_run
from tests.support.synthetic import write_synthetic_run

Summarize = Callable[..., Summary]
LOADER = "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"


@pytest.fixture
def summary_of(tmp_path: Path) -> Summarize:
    """A function that writes a drawn run and summarises it."""

    def summarise(draw: Draw = lambda rank, step: (), query: str = "", **changes: Any) -> Summary:
        path = write_drawn_run(tmp_path / "run", draw, **changes)
        with Run.open(path) as run:
            return summarize(run, compile_query(query) if query else None)

    return summarise


def training_step(rank: int, step: int) -> tuple[Node, ...]:
    """1000 ns: 100 waiting, 300 forward, 400 backward, 150 optimizer, 50 outside."""
    backward = (
        Node(
            "autograd::engine::evaluate_function: AddmmBackward0",
            300,
            "autograd",
            "backward",
            "net.fc",
            (op("aten::mm", 280, phase="backward", layer="net.fc"),),
            below=("net", "net.fc"),
        ),
    )
    return (
        Node(
            LOADER,
            100,
            "data",
            "data",
            children=(op("aten::stack", 30, op("aten::cat", 20, phase="data"), phase="data"),),
        ),
        module(
            "net",
            300,
            module("net.fc", 200, op("aten::linear", 180, op("aten::addmm", 150), op("aten::addmm", 10))),
            op("aten::relu", 60),
        ),
        Node("backward", 400, "phase", "backward", children=backward),
        Node("Optimizer.step#SGD.step", 150, "user", "optimizer", children=(op("aten::add_", 90, phase="optimizer"),)),
        gap(50),
    )


def test_steps_after_warmup(summary_of: Summarize) -> None:
    lengths = [1000, 110, 120, 130, 140, 150, 160, 170, 180, 190]
    steps = summary_of(lambda rank, step: (op("aten::mm", lengths[step] * 1000),), steps=10).steps
    assert steps is not None
    assert (steps.recorded, steps.warmup, steps.warmup_ns, steps.count) == (10, 1, 1_000_000, 9)
    assert (steps.first, steps.last, steps.slowest) == (1, 9, 9)
    assert (steps.median_ns, steps.p90_ns, steps.p99_ns) == (150_000, 190_000, 190_000)
    assert (steps.min_ns, steps.max_ns, steps.mean_ns) == (110_000, 190_000, 150_000)
    assert steps.per_second == pytest.approx(9 / 1350e-6)


def test_percentiles_of_two_hundred_steps(summary_of: Summarize) -> None:
    steps = summary_of(lambda rank, step: (op("aten::mm", 1000 + step),), steps=200).steps
    assert steps is not None
    assert (steps.count, steps.median_ns, steps.p90_ns, steps.p99_ns) == (200, 1099, 1179, 1197)


def test_throughput_is_that_of_one_rank(summary_of: Summarize) -> None:
    steps = summary_of(lambda rank, step: (op("aten::mm", 1_000_000),), steps=8, ranks=2).steps
    assert steps is not None
    assert (steps.recorded, steps.count) == (16, 16)
    assert steps.per_second == pytest.approx(1000)


def test_phases_cover_the_step(summary_of: Summarize) -> None:
    summary = summary_of(training_step, steps=5)
    assert summary.wall_ns == 5_000
    assert summary.phases == (
        PhaseShare("data", 500, 0.10),
        PhaseShare("forward", 1500, 0.30),
        PhaseShare("backward", 2000, 0.40),
        PhaseShare("optimizer", 750, 0.15),
        PhaseShare("outside", 250, 0.05),
    )
    assert summary.phase_share("backward") == 0.40
    assert summary.phase_share("other") == 0


def test_operators_and_types(summary_of: Summarize) -> None:
    summary = summary_of(training_step, steps=5)
    ops = {row.name: row for row in summary.ops}
    addmm = ops["aten::addmm"]
    assert (addmm.type, addmm.count, addmm.self_ns, addmm.total_ns, addmm.forward_ns) == ("matmul", 10, 800, 800, 800)
    linear = ops["aten::linear"]
    assert (linear.count, linear.self_ns, linear.total_ns) == (5, 100, 900)
    assert ops["aten::mm"].backward_ns == ops["aten::mm"].self_ns == 1400
    # What modules, steps and phases spend themselves is Python, not an operator's.
    assert {"net", "net.fc", "step", "backward"}.isdisjoint(ops)
    assert summary.op_self_ns == sum(row.self_ns for row in summary.ops) == 5 * (100 + 180 + 60 + 300 + 150)
    assert sum(row.share for row in summary.ops) == pytest.approx(1)
    assert [row.self_ns for row in summary.ops] == sorted((row.self_ns for row in summary.ops), reverse=True)
    types = {row.name: row for row in summary.types}
    # aten::linear is of the type of the aten::addmm in it, AddmmBackward0 of that of its aten::mm: counted once.
    assert (types["matmul"].self_ns, types["matmul"].total_ns) == (800 + 100 + 1400 + 100, 900 + 1500)
    assert types["matmul"].count == 10 + 5 + 5 + 5


def test_layers_forward_and_backward(summary_of: Summarize) -> None:
    summary = summary_of(training_step, steps=5)
    net, fc = summary.layers
    assert (net.name, net.depth, net.leaf, net.count) == ("net", 0, False, 5)
    assert (fc.name, fc.depth, fc.leaf, fc.count) == ("net.fc", 1, True, 5)
    assert (net.self_ns, net.total_ns, net.forward_ns, net.backward_ns) == (500, 3000, 1500, 1500)
    assert (fc.self_ns, fc.total_ns, fc.forward_ns, fc.backward_ns) == (2500, 2500, 1000, 1500)
    assert net.share == pytest.approx(3000 / summary.self_ns)


def test_self_times_add_up_to_what_is_recorded(summary_of: Summarize) -> None:
    summary = summary_of(training_step, steps=5)
    assert summary.self_ns == 5 * 950
    assert summary.span_count == 5 * 14


def test_data_wait(summary_of: Summarize) -> None:
    assert summary_of(training_step, steps=5).data_wait == DataWait(5, 500, 0.1, 100.0, 100)


def test_a_loader_inside_a_loader_waits_once(summary_of: Summarize) -> None:
    inner = Node("enumerate(DataLoader)#inner.__next__", 60, "data", "data")
    outer = Node("enumerate(DataLoader)#outer.__next__", 100, "data", "data", children=(inner,))
    wait = summary_of(lambda rank, step: (outer, op("aten::mm", 100))).data_wait
    assert wait is not None
    assert (wait.ns, wait.share) == (100, 0.5)


def test_a_loader_on_another_thread_keeps_nobody_waiting(summary_of: Summarize) -> None:
    beside = Node(LOADER, 50, "data", "data", tid=77)
    summary = summary_of(lambda rank, step: (op("aten::mm", 100), beside))
    assert summary.data_wait is None
    assert summary.threads == (
        ThreadStat(0, PID, PID, 1, 100, 1.0, drives_steps=True),
        ThreadStat(0, PID, 77, 1, 50, 0.5, drives_steps=False),
    )
    assert summary.phases == (PhaseShare("forward", 100, 1.0),)


def test_memory(summary_of: Summarize) -> None:
    def sample(ts: int, value: float, name: str = "rss") -> dict[str, Any]:
        return {"ts_ns": ts, "device": "cpu", "name": name, "value": value, "unit": "bytes"}

    counters = [sample(3, 70), sample(1, 50), sample(2, 90), sample(4, float("nan")), sample(1, 999, "cpu")]
    assert summary_of(counters=counters).memory == (MemoryStat(0, "cpu", 50, 90, 70),)


def test_overhead_is_added_over_processes_and_set_against_their_lives(summary_of: Summarize) -> None:
    measured = {"total_ns": 20, "operator_ns": 180, "layer_ns": 900, "method": "calibrated"}
    process = {"overhead": measured, "recorder": "native", "start_ns": EPOCH_NS, "ended_ns": EPOCH_NS + 1000}
    overhead = summary_of(ranks=2, process=process).overhead
    assert overhead is not None
    assert (overhead.total_ns, overhead.share, overhead.recorder) == (40, 0.02, "native")
    assert (overhead.operator_ns, overhead.layer_ns, overhead.method) == (180, 900, "calibrated")


def test_no_process_measured_its_overhead(summary_of: Summarize) -> None:
    assert summary_of().overhead is None


def test_dropped_spans_of_run_json_and_of_processes_that_it_does_not_list(summary_of: Summarize) -> None:
    process = {"dropped_spans": 9, "dropped_reason": "disk full"}
    dropped = [{"pid": PID, "reason": "max-size", "spans": 4}, "?"]
    summary = summary_of(ranks=2, process=process, info={"dropped": dropped})
    assert summary.dropped == (Dropped(PID, "max-size", 4), Dropped(PID + 1, "disk full", 9))


def test_a_run_without_spans(summary_of: Summarize) -> None:
    summary = summary_of(steps=0, info={"processes": []})
    assert (summary.span_count, summary.wall_ns, summary.self_ns, summary.op_count) == (0, 0, 0, 0)
    assert summary.window == Window(None, 0, sampled=False, evicted_before=0)
    assert (summary.steps, summary.data_wait, summary.overhead) == (None, None, None)
    assert (summary.phases, summary.types, summary.ops, summary.layers, summary.threads) == ((), (), (), (), ())
    assert summary.per_step == 1


def test_a_run_without_steps_is_taken_as_a_whole(summary_of: Summarize) -> None:
    summary = summary_of(lambda rank, step: (op("aten::mm", 70), gap(30)), steps=4, with_steps=False)
    assert summary.steps is None
    assert summary.window.steps is None
    assert summary.wall_ns == 370
    assert summary.phases == (PhaseShare("forward", 280, 280 / 370), PhaseShare("outside", 90, 90 / 370))


def test_the_window_leaves_warmup_steps_out(summary_of: Summarize) -> None:
    def draw(rank: int, step: int) -> tuple[Node, ...]:
        return (op("aten::mm", 100),) if step else (op("aten::compile", 900), op("aten::mm", 100))

    summary = summary_of(draw, steps=8)
    assert summary.window == Window((1, 7), 7, sampled=False, evicted_before=0)
    assert [row.name for row in summary.ops] == ["aten::mm"]
    assert (summary.per_step, summary.ops[0].count) == (7, 7)


def test_with_a_query_exactly_what_it_selects_is_summed(summary_of: Summarize) -> None:
    summary = summary_of(training_step, "type:matmul kind:op phase:backward step:1..2", steps=5)
    assert summary.filtered
    assert [(row.name, row.count, row.self_ns) for row in summary.ops] == [("aten::mm", 2, 560)]
    assert summary.window == Window((1, 2), 2, sampled=False, evicted_before=0)
    assert summary.phases == (PhaseShare("backward", 560, 1.0),)
    assert summary.data_wait is None


def test_a_query_that_selects_nothing(summary_of: Summarize) -> None:
    summary = summary_of(training_step, "op:nothing", steps=5)
    assert (summary.span_count, summary.ops, summary.phases) == (0, (), ())
    assert summary.window.steps is None


def _recorded_from_step_4_to_6(rank: int, step: int) -> tuple[Node, ...]:
    return (module("net", 100, op("aten::mm", 80)), gap(20)) if 4 <= step <= 6 else (gap(110),)


def test_of_a_run_of_some_steps_only_these_count(summary_of: Summarize) -> None:
    summary = summary_of(_recorded_from_step_4_to_6, steps=12, info={"settings": {"steps": [4, 6]}})
    assert summary.window == Window((4, 6), 3, sampled=False, evicted_before=0)
    assert summary.steps is not None
    assert (summary.steps.recorded, summary.steps.median_ns) == (3, 120)
    assert summary.phases == (PhaseShare("forward", 300, 300 / 360), PhaseShare("outside", 60, 60 / 360))
    assert summary.ops[0].count / summary.per_step == 1


def test_steps_that_were_asked_for_and_never_came_leave_all_steps(summary_of: Summarize) -> None:
    summary = summary_of(_recorded_from_step_4_to_6, steps=3, info={"settings": {"steps": [4, 999_999_999]}})
    assert summary.steps is not None
    assert summary.steps.recorded == 3


@pytest.mark.parametrize("odd", [None, 3, [1], ["a", "b"], [1, None], [True, 2], [4, 6, 7], {}])
def test_odd_ranges_of_steps_are_ignored(summary_of: Summarize, odd: object) -> None:
    summary = summary_of(training_step, steps=5, info={"settings": {"steps": odd}})
    assert summary.steps is not None
    assert summary.steps.recorded == 5


def test_under_an_overhead_budget_only_fully_recorded_steps_count(summary_of: Summarize) -> None:
    def draw(rank: int, step: int) -> tuple[Node, ...]:
        return (module("net", 100, op("aten::mm", 80)),) if step % 3 == 0 else (module("net", 90),)

    summary = summary_of(draw, steps=9, info={"settings": {"overhead_budget": 0.03}})
    assert summary.window == Window((0, 6), 3, sampled=True, evicted_before=0)
    assert (summary.wall_ns, summary.ops[0].count, summary.layers[0].count) == (300, 3, 3)


def test_steps_whose_spans_were_removed_are_not_averaged_in(tmp_path: Path) -> None:
    written = write_synthetic_run(tmp_path / "run", steps=40, layers=1, evicted_steps=10)
    with Run.open(written.path) as run:
        summary = summarize(run)
    assert summary.window.evicted_before == 11
    assert summary.window.steps == (11, 39)
    assert summary.span_count == 29 * written.spans_per_step
    assert summary.steps is not None
    assert summary.steps.recorded == 40


def test_ranks_add_up(summary_of: Summarize) -> None:
    summary = summary_of(training_step, steps=5, ranks=3)
    assert (summary.ranks, summary.window.step_count, summary.wall_ns) == (3, 15, 15_000)
    assert summary.phase_share("backward") == 0.4
    assert len([thread for thread in summary.threads if thread.drives_steps]) == 3
    assert all(thread.share == pytest.approx(0.95) for thread in summary.threads)


def test_backward_on_a_thread_of_its_own_does_not_drive_the_steps(summary_of: Summarize) -> None:
    def draw(rank: int, step: int) -> tuple[Node, ...]:
        engine = Node("MmBackward0", 700, "autograd", "backward", tid=99)
        return (op("aten::mm", 100), Node("backward", 700, "phase", "backward"), engine)

    summary = summary_of(draw, steps=4)
    assert {thread.tid: thread.drives_steps for thread in summary.threads} == {PID: True, 99: False}
    assert summary.phases == (PhaseShare("forward", 400, 0.125), PhaseShare("backward", 2800, 0.875))


@pytest.mark.parametrize("odd", [None, "x", -1, [], [None, 3], {"a": 1}])
def test_odd_values_in_run_json_break_nothing(summary_of: Summarize, odd: object) -> None:
    keys = ("host", "clock", "settings", "dropped", "warnings", "created_ns", "ended_ns", "name", "status")
    info = {**dict.fromkeys(keys, odd), "spans": odd}
    assert summary_of(training_step, steps=2, info=info).span_count == 28


@pytest.mark.parametrize("odd", ["x", -1, [], [None], {"total_ns": "x"}, {"total_ns": 1e999}, {"total_ns": True}])
def test_an_odd_overhead_breaks_nothing(summary_of: Summarize, odd: object) -> None:
    overhead = summary_of(process={"overhead": odd, "start_ns": "yesterday", "dropped_spans": "many"}).overhead
    assert overhead is None or overhead.total_ns == 0
