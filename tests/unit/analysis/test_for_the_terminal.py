"""What the TUI asks of a run: facets, the layer tree, calls of an operator, series, and sums that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseek_prof.analysis.aggregate import ContextTree, context_sums
from deepseek_prof.analysis.facets import count_events, facets
from deepseek_prof.analysis.layer_tree import layer_tree
from deepseek_prof.analysis.operator_calls import TREND_BINS, operator_calls, operator_spreads
from deepseek_prof.analysis.overview import overview
from deepseek_prof.analysis.series import counters, metrics, step_times
from deepseek_prof.analysis.top import top
from deepseek_prof.analysis.totals import keep_totals
from deepseek_prof.query import Table, compile_query
from deepseek_prof.trace.run import Run
from tests.support.drawn import EPOCH_NS, Node, module, op, write_drawn_run
from tests.support.synthetic import write_synthetic_run

QUERIES = ("type:matmul", "phase:backward", "layer:net.fc -op:*mm", "tid:4200", "rank:0 kind:op", "op:aten::mm or conv")


def step(rank: int, number: int) -> tuple[Node, ...]:
    """800 µs: net with conv and fc, then backward of fc; another thread loads for 300 µs meanwhile."""
    backward = Node(
        "AddmmBackward0",
        300_000,
        "autograd",
        "backward",
        "net.fc",
        (op("aten::mm", 280_000 + number, phase="backward", layer="net.fc"),),
        ("net", "net.fc"),
    )
    return (
        module(
            "net",
            400_000,
            module("net.conv", 100_000, op("aten::conv2d", 90_000)),
            module("net.fc", 200_000, op("aten::linear", 190_000, op("aten::addmm", 160_000))),
        ),
        Node("backward", 400_000, "phase", "backward", children=(backward,)),
        Node("aten::stack", 300_000, phase="data", tid=77),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = [
        {"ts_ns": EPOCH_NS + index, "device": "cpu", "name": "rss", "value": 1e6 * (index + 1), "unit": "bytes"}
        for index in range(3)
    ]
    path = write_drawn_run(tmp_path_factory.mktemp("runs") / "run", step, steps=8, counters=counts)
    events = [
        {"ts_ns": EPOCH_NS + 10, "level": "info", "event": "run_start", "fields": {"pid": 3}},
        {"ts_ns": EPOCH_NS + 20, "level": "info", "event": "epoch", "fields": {"loss": 0.5, "rate": 0.1, "name": "a"}},
        {"ts_ns": EPOCH_NS + 30, "level": "warning", "event": "slow_step", "step": 3, "fields": {"dur_ns": 9}},
        {
            "ts_ns": EPOCH_NS + 40,
            "level": "info",
            "event": "epoch",
            "fields": {"loss": 0.25, "rate": 0.1, "flag": True},
        },
    ]
    folder = path / "logs" / "rank=0" / "pid=4200"
    folder.mkdir(parents=True)
    (folder / "part-00000.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return path


@pytest.mark.parametrize("query", QUERIES)
def test_kept_totals_answer_as_the_spans_do(path: Path, query: str) -> None:
    condition = compile_query(query)
    with Run.open(path) as run, Run.open(path) as kept:
        keep_totals(kept)
        with kept.cursor() as cursor:
            found = [
                sorted(
                    context_sums(each, ContextTree.of(each), condition.sql, condition.params),
                    key=lambda sums: (sums.tid, sums.node.context_id),
                )
                for each in (run, kept, cursor)
            ]
    assert found[0]
    assert found[0] == found[1] == found[2]


def test_a_condition_on_single_spans_is_asked_of_the_spans(path: Path) -> None:
    with Run.open(path) as run:
        keep_totals(run)
        condition = compile_query("dur>=280us step:2.. op:aten::mm")
        sums = context_sums(run, ContextTree.of(run), condition.sql, condition.params)
    assert [(each.node.name, each.count) for each in sums] == [("aten::mm", 6)]


def test_facets_add_up_to_what_is_selected(path: Path) -> None:
    with Run.open(path) as run:
        found = facets(run)
        by_type = {row.name: row.self_ns for row in top(run, "type", limit=None).rows}
    assert found.spans == 8 * 10
    assert {each.value: each.self_ns for each in found.types} == by_type
    assert [(each.value, each.self_ns) for each in found.phases] == [
        ("backward", 8 * 400_000),
        ("forward", 8 * 400_000),
        ("data", 8 * 300_000),
    ]
    assert sum(each.share for each in found.phases) == pytest.approx(1.0)
    assert [each.value for each in found.threads] == ["4200", "77"]


def test_facets_of_a_query_keep_the_values_that_it_leaves_out(path: Path) -> None:
    with Run.open(path) as run:
        found = facets(run, compile_query("phase:forward"))
    assert {each.value: each.share for each in found.phases} == {"forward": 1.0, "backward": 0.0, "data": 0.0}
    assert found.spans == 8 * 6


def test_events_are_counted_by_their_own_condition(path: Path) -> None:
    with Run.open(path) as run:
        assert count_events(run) == 4
        assert count_events(run, compile_query("level:warning", Table.LOGS)) == 1


def test_layers_hold_what_is_below_them(path: Path) -> None:
    with Run.open(path) as run:
        nodes = {node.name: node for node in layer_tree(run)}
    assert list(nodes) == ["net", "net.conv", "net.fc"]
    net, fc = nodes["net"], nodes["net.fc"]
    assert (net.parent, net.depth, net.leaf, net.count) == (None, 0, False, 8)
    assert (net.self_ns, net.total_ns) == (8 * 100_000, 8 * 700_000)
    assert (net.forward_ns, net.backward_ns) == (8 * 400_000, 8 * 300_000)
    assert (fc.parent, fc.depth, fc.leaf) == ("net", 1, True)
    assert (fc.forward_ns, fc.backward_ns) == (8 * 200_000, 8 * 300_000)
    assert net.share == pytest.approx(700 / 1100)


def test_a_filter_that_leaves_forward_out_keeps_the_tree(path: Path) -> None:
    with Run.open(path) as run:
        nodes = {node.name: node for node in layer_tree(run, compile_query("phase:backward"))}
    assert (nodes["net"].total_ns, nodes["net"].forward_ns) == (8 * 300_000, 0)
    assert nodes["net.conv"].total_ns == 0
    assert nodes["net.fc"].parent == "net"


def test_numbers_in_layer_names_are_in_their_order(tmp_path: Path) -> None:
    path = write_synthetic_run(tmp_path / "run", steps=2, layers=11).path
    with Run.open(path) as run:
        names = [node.name for node in layer_tree(run) if node.depth == 1]
    assert names == ["embedding", *(f"encoder.{index}" for index in range(11)), "head"]


def test_calls_of_an_operator_name_their_layer_and_step(path: Path) -> None:
    with Run.open(path) as run:
        found = operator_calls(run, "aten::mm")
        nothing = operator_calls(run, "aten::mm", compile_query("phase:forward"))
    (caller,) = found.callers
    assert (caller.layer, caller.phase, caller.count) == ("net.fc", "backward", 8)
    assert [(call.step, call.dur_ns) for call in found.slowest] == [(n, 280_000 + n) for n in reversed(range(8))]
    assert found.shapes == ()
    assert not nothing.callers
    assert not nothing.slowest


def test_the_spread_is_exact(path: Path) -> None:
    with Run.open(path) as run:
        found = operator_spreads(run)
    assert found["aten::mm"].p99_ns == 280_007
    assert found["aten::mm"].trend == tuple(280_000 + n for n in range(TREND_BINS))
    assert found["aten::stack"].trend == (300_000,) * TREND_BINS


def test_step_times_are_those_of_the_steps_or_of_what_is_selected(path: Path) -> None:
    with Run.open(path) as run:
        assert step_times(run).values == (800_000.0,) * 8
        assert step_times(run, compile_query("type:conv step:2..4")).values == (90_000.0,) * 3


def test_counters_and_the_programs_own_numbers_are_series(path: Path) -> None:
    with Run.open(path) as run:
        (memory,) = counters(run)
        told = {each.name: each.values for each in metrics(run)}
    assert (memory.name, memory.unit, memory.values) == ("rss cpu", "bytes", (1e6, 2e6, 3e6))
    assert told == {"epoch loss": (0.5, 0.25), "epoch rate": (0.1, 0.1)}
    assert next(iter(told)) == "epoch loss"


def test_the_overview_of_a_query_says_its_share_of_the_run(path: Path) -> None:
    with Run.open(path) as run:
        whole, part = overview(run), overview(run, compile_query("phase:data"))
    assert whole.verdict is not None
    assert whole.self_ns == whole.whole_ns == 8 * 1_100_000
    assert part.verdict is None
    assert (part.self_ns, part.whole_ns) == (8 * 300_000, 8 * 1_100_000)
    assert [(each.phase, each.share) for each in part.phases] == [("data", 1.0)]


def test_a_run_without_spans_has_empty_answers(tmp_path: Path) -> None:
    with Run.open(write_drawn_run(tmp_path / "empty", with_steps=False)) as run:
        keep_totals(run)
        assert facets(run).spans == 0
        assert layer_tree(run) == ()
        assert operator_spreads(run) == {}
        assert step_times(run).values == ()
        assert overview(run).steps.values == ()
