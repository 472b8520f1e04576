"""The ``logs`` view: which lines are events, and what becomes of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseek_prof.trace.log_view import parse_line
from deepseek_prof.trace.run import Run
from tests.support.synthetic import EPOCH_NS
from tests.unit.logs.conftest import HOSTILE, WriteEvents, line

COLUMNS = ["ts_ns", "rank", "level", "event", "step", "phase", "layer", "op", "fields"]
NO_EVENTS = (
    "",
    "{",
    "[1]",
    "null",
    '"text"',
    '{"event": "no time"}',
    '{"ts_ns": "7", "event": [}',
    line(5, "cut off")[:30],
    '{"ts_ns": null}',
)


def test_a_run_without_events_has_an_empty_view(run_dir: Path) -> None:
    with Run.open(run_dir) as run:
        assert run.rows("SELECT * FROM logs") == []
        assert [row[0] for row in run.rows("DESCRIBE logs")] == COLUMNS


def test_events_of_all_ranks_and_files_are_read(run_dir: Path, write_events: WriteEvents) -> None:
    write_events(line(3, "c", step=2, phase="forward", layer="a.b", level="error", fields={"x": 1}))
    write_events(line(1, "a"), rank=1, pid=77)
    write_events(line(2, "b"), name="part-recorder.jsonl")
    with Run.open(run_dir) as run:
        rows = run.rows("SELECT * FROM logs ORDER BY ts_ns")
    assert [(row[1], row[3]) for row in rows] == [(1, "a"), (0, "b"), (0, "c")]
    assert rows[2][:8] == (EPOCH_NS + 3, 0, "error", "c", 2, "forward", "a.b", None)
    assert json.loads(rows[2][8]) == {"x": 1}


def test_lines_that_are_no_events_hide_no_other(run_dir: Path, write_events: WriteEvents) -> None:
    write_events(line(1, "first"), *NO_EVENTS, line(2, "last"))
    with Run.open(run_dir) as run:
        assert run.rows("SELECT event FROM logs ORDER BY ts_ns") == [("first",), ("last",)]


@pytest.mark.parametrize("text", NO_EVENTS)
def test_the_same_lines_are_no_events_in_python(text: str) -> None:
    assert parse_line(text) is None


def test_names_are_data(run_dir: Path, write_events: WriteEvents) -> None:
    write_events(*(line(number, name, layer=name) for number, name in enumerate(HOSTILE)))
    with Run.open(run_dir) as run:
        assert run.rows("SELECT event, layer FROM logs ORDER BY ts_ns") == [(name, name) for name in HOSTILE]
        assert run.rows("SELECT count(*) > 0 FROM spans") == [(True,)]


def test_events_that_are_being_written_are_read(run_dir: Path) -> None:
    live = run_dir / "live" / "77-1f"
    live.mkdir(parents=True)
    (live / "process.json").write_text('{"rank": 3}')
    (live / "events-00000.jsonl").write_text(line(1, "whole") + "\n" + line(2, "not yet")[:40])
    (run_dir / "live" / "foreign").mkdir()
    (run_dir / "live" / "foreign" / "events-00000.jsonl").write_text(line(3, "foreign") + "\n")
    with Run.open(run_dir) as run:
        assert run.rows("SELECT rank, event, fields FROM logs") == [(3, "whole", "{}")]
