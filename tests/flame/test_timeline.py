"""Timelines: the step that is shown, nesting, threads and streams apart, and the bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.analysis import timeline
from deepseek_prof.analysis.timeline import Event, Timeline, timelines
from deepseek_prof.errors import UsageError
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.flame.drawing import draw
from tests.support.chrome_trace import complete, on_device, write_trace
from tests.support.drawn import PID, write_drawn_run
from tests.support.synthetic import write_synthetic_run


def lines(found: Timeline) -> list[str]:
    return [f"{'+' if event.opens else '-'}{event.frame.name} {event.at_ns}" for event in found.events]


def assert_balanced(found: Timeline) -> None:
    stack: list[Event] = []
    for before, event in zip(found.events, found.events[1:], strict=False):
        assert before.at_ns <= event.at_ns
    for event in found.events:
        if event.opens:
            stack.append(event)
        else:
            assert stack.pop().frame == event.frame
    assert not stack
    assert found.events[-1].at_ns <= found.end_ns


def test_spans_open_and_close_by_thread(run: Run) -> None:
    main, beside = timelines(run, compile_query("step:1"))
    assert (main.name, beside.name) == (f"thread {PID}", "thread 77")
    assert lines(main) == [
        "+net 0",
        "+net.fc 0",
        "+aten::linear 0",
        "+aten::addmm 0",
        "-aten::addmm 60",
        "-aten::linear 70",
        "-net.fc 80",
        "+aten::add 80",
        "-aten::add 90",
        "-net 100",
        "+backward 100",
        "+AddmmBackward0 100",
        "+aten::mm 100",
        "-aten::mm 270",
        "-AddmmBackward0 280",
        "-backward 300",
    ]
    assert [frame.frame.kind for frame in main.events[:3]] == ["layer", "layer", "op"]


def test_without_a_step_in_the_query_the_median_step_is_shown(tmp_path: Path) -> None:
    path = write_synthetic_run(tmp_path / "run", steps=9, layers=1, jitter=0.0, slow={4: 3.0, 6: 0.5}).path
    with Run.open(path) as run:
        (found,) = timelines(run, compile_query("phase:forward"))
        (first,) = timelines(run, compile_query("phase:forward step:2"))
    assert found.name.startswith("step 2 · ")
    assert found.events == first.events
    assert_balanced(found)


def test_without_steps_everything_is_shown(tmp_path: Path) -> None:
    with Run.open(write_drawn_run(tmp_path / "run", draw, steps=2, with_steps=False)) as run:
        main, beside = timelines(run)
    assert (len(main.events), len(beside.events)) == (2 * 16, 2 * 2)
    assert_balanced(main)


def test_processes_and_streams_have_their_own(tmp_path: Path, device_run: Run) -> None:
    assert [each.name for each in timelines(device_run)] == [
        "step 7 · thread 4000",
        "step 7 · thread 4001",
        "step 7 · cuda:0 stream 7",
    ]
    with Run.open(write_drawn_run(tmp_path / "run", draw, steps=1, ranks=2)) as run:
        names = [each.name for each in timelines(run)]
    assert names[::2] == [f"step 0 · rank {rank} pid {PID + rank} thread {PID + rank}" for rank in (0, 1)]


def test_on_a_stream_what_overlaps_ends_where_the_next_begins(tmp_path: Path) -> None:
    from deepseek_prof.importing.importer import import_traces

    events = [complete("aten::mm", 0, 5), on_device("first", 10, 6, 1), on_device("second", 15, 9, 2)]
    import_traces([write_trace(tmp_path / "trace.json", events)], tmp_path / "run")
    with Run.open(tmp_path / "run") as run:
        stream = timelines(run)[-1]
    assert lines(stream) == ["+first 10000", "-first 15000", "+second 15000", "-second 24000"]


def test_too_many_spans_are_refused_with_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_SPANS", 8)
    with pytest.raises(UsageError, match=r"Step \d holds 9 spans; a timeline shows at most 8. Narrow it"):
        timelines(run)
    with pytest.raises(UsageError, match="The selection holds 36 spans"):
        timelines(run, compile_query("step:0.."))
    assert len(timelines(run, compile_query("step:0 -op:aten::mm"))) == 1


def test_an_empty_selection_is_said(run: Run) -> None:
    with pytest.raises(UsageError, match="holds no span"):
        timelines(run, compile_query("op:nothing"))
