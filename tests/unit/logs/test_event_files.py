"""Conversion of event files, the events that it adds itself, and who follows them meanwhile."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.event_files import OWN_NAME
from deepseek_prof.recording.log_tail import EventTail
from deepseek_prof.recording.recover import recover
from deepseek_prof.trace.log_view import parse_line
from deepseek_prof.trace.run import Run
from tests.support.live import DEAD_PID, NO_LIMIT, OFFSET_NS, WrittenProcess, add_process, make_run
from tests.support.synthetic import EPOCH_NS
from tests.unit.logs.conftest import line

STEP_NS = 1_000_000_000
BEGIN_NS = 100


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def told(run_dir: Path, event: str = "*") -> list[tuple[Any, ...]]:
    """``(ts_ns, rank, step, event, fields)`` of the events in the run, by time."""
    with Run.open(run_dir) as run:
        rows = run.rows(
            "SELECT ts_ns, rank, step, event, fields FROM logs WHERE event GLOB ? ORDER BY ts_ns, event", [event]
        )
    return [(*row[:4], json.loads(row[4])) for row in rows]


def write(process: WrittenProcess, number: int, *lines: str) -> Path:
    path = process.directory / f"events-{number:05d}.jsonl"
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def at(ns: int, event: str, **changes: Any) -> str:
    """An event at a time of the live files' clock."""
    return line(OFFSET_NS + ns - EPOCH_NS, event, **changes)


def test_events_get_the_step_that_their_time_falls_into(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.spans(1, [(10, 5, 5, process.context("x"))])
    process.steps([(100, 100), (200, 100)])
    write(process, 0, at(50, "u0", step=7), at(150, "u1", step=7), at(250, "u2"), at(350, "u3"))
    process.end(start_ns=1, rank=2)
    recover(run_dir)
    assert [(row[1], row[2], row[3]) for row in told(run_dir, "u*")] == [
        (2, None, "u0"),
        (2, 0, "u1"),
        (2, 1, "u2"),
        (2, 2, "u3"),
    ]


def test_without_steps_an_event_keeps_its_own(run_dir: Path) -> None:
    process = add_process(run_dir)
    write(process, 0, at(50, "u0", step=7), "damaged", at(60, "u1")[:30])
    process.end()
    recover(run_dir)
    assert [row[2:4] for row in told(run_dir, "u*")] == [(7, "u0")]


def test_a_file_that_is_being_written_stays_and_the_others_go(run_dir: Path) -> None:
    process = add_process(run_dir, pid=os.getpid())
    process.describe(rank=0)
    for number in range(3):
        write(process, number, at(number, f"u{number}"))
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    assert [path.name for path in process.directory.glob("events-*")] == ["events-00002.jsonl"]
    assert [row[3] for row in told(run_dir, "u*")] == ["u0", "u1", "u2"], "none twice, none not at all"
    process.end()
    converter.finish()
    assert [row[3] for row in told(run_dir, "u*")] == ["u0", "u1", "u2"]


def test_events_move_with_a_rank_that_is_told_late(run_dir: Path) -> None:
    process = add_process(run_dir, pid=os.getpid())
    process.describe()
    write(process, 0, at(1, "u0"))
    write(process, 1, at(2, "u1"))
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    process.end(rank=5)
    converter.finish()
    assert [(row[1], row[3]) for row in told(run_dir, "u*")] == [(5, "u0"), (5, "u1")]


def test_a_slow_step_is_told_and_the_first_ones_are_not(run_dir: Path) -> None:
    process = add_process(run_dir)
    durations = [9, *[1] * 19, 3, *[1] * 5]
    ends = [sum(durations[: index + 1]) * STEP_NS for index in range(len(durations))]
    process.steps([(BEGIN_NS + end - dur * STEP_NS, dur * STEP_NS) for end, dur in zip(ends, durations, strict=True)])
    process.end(start_ns=1, rank=1)
    recover(run_dir)
    ((ts_ns, rank, step, _, fields),) = told(run_dir, "slow_step")
    assert (ts_ns, rank, step) == (OFFSET_NS + BEGIN_NS + ends[20], 1, 20)
    assert fields["median_ns"] == STEP_NS
    summaries = told(run_dir, "step_summary")
    assert sum(row[4]["steps"] for row in summaries) == len(durations)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(summaries)]
    assert min(gaps) >= STEP_NS, "at most one a second"


def test_the_run_and_its_processes_begin_and_end(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.end(start_ns=10)
    killed = add_process(run_dir, pid=DEAD_PID + 1, start=0x20)
    killed.describe(start_ns=20)
    recover(run_dir)
    names = Counter(row[3] for row in told(run_dir))
    assert names == {"run_start": 1, "process_start": 2, "process_end": 2, "run_end": 1}
    with Run.open(run_dir) as run:
        levels = dict(run.rows("SELECT fields->>'pid', level FROM logs WHERE event = 'process_end'"))
    assert levels == {str(DEAD_PID): "info", str(DEAD_PID + 1): "warning"}


def test_a_second_conversion_tells_nothing_twice(run_dir: Path) -> None:
    process = add_process(run_dir, pid=os.getpid())
    process.describe(start_ns=50)
    process.steps([(100, STEP_NS), (100 + STEP_NS, STEP_NS), (100 + 2 * STEP_NS, STEP_NS)])
    first = Converter(run_dir, max_size_bytes=NO_LIMIT)
    first.poll()
    first._lock.close()  # as when its process dies
    before = Counter(row[3] for row in told(run_dir))
    assert before["step_summary"] == 2
    process.end(start_ns=50)
    recover(run_dir)
    assert Counter(row[3] for row in told(run_dir)) == before + Counter(process_end=1, run_end=1)


def test_lost_spans_are_an_event(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.spans(1, [(10, 5, 5, process.context("x"))])
    process.end(dropped_spans=12)
    recover(run_dir)
    ((_, _, _, _, fields),) = told(run_dir, "spans_dropped")
    assert fields["spans"] == 12


def test_who_follows_sees_every_event_once_whenever_files_move(run_dir: Path) -> None:
    process = add_process(run_dir, pid=os.getpid())
    process.describe()
    seen: list[str] = []
    with closing(EventTail(run_dir)) as tail:
        seen += [row["event"] for row in tail.poll()]
        path = write(process, 0, at(1, "u0"), at(2, "u1"))
        with path.open("a") as file:
            file.write(at(3, "u2")[:25])
            file.flush()
            seen += [row["event"] for row in tail.poll()]
            assert seen == ["u0", "u1"], "a line that is being written waits"
            file.write(at(3, "u2")[25:] + "\n")
        write(process, 1, at(4, "u3"))
        converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
        converter.poll()  # moves the first file
        seen += [row["event"] for row in tail.poll()]
        write(process, 2, at(5, "u4"))
        process.end()
        late = add_process(run_dir, pid=DEAD_PID, start=0x30)
        write(late, 0, at(6, "u5"))
        late.end()
        converter.finish()
        seen += [row["event"] for row in tail.rest()]
    counted = Counter(seen)
    assert [counted[f"u{number}"] for number in range(6)] == [1] * 6
    own = [parse_line(each) for path in run_dir.glob(f"logs/*/*/{OWN_NAME}") for each in path.read_bytes().splitlines()]
    assert sum(counted[name] for name in ("run_start", "process_start", "process_end")) == len(own)
