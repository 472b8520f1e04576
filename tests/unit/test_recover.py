"""Runs whose processes were killed: what was finished before is in the run, and recovering it again changes nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_prof.errors import OutputError, RunDamagedError, RunNotFoundError
from deepseek_prof.recording.converter import LOCK_NAME, Converter
from deepseek_prof.recording.recover import is_recording, needs_recovery, recover
from deepseek_prof.trace.run_file import read_run_file
from tests.support.live import OFFSET_NS, add_process, make_run, read_rows, read_spans

# Writes until it is killed. Each number on stdout says how many spans were finished by then.
WRITER = """
import os, sys
from pathlib import Path
from deepseek_prof.recording.live_format import ContextsLogWriter, SegmentWriter
directory = Path(sys.argv[1]) / f"{os.getpid()}-10"
directory.mkdir()
log = ContextsLogWriter(directory / "contexts.log")
thread = SegmentWriter(directory, "t0", os.getpid(), 1, size_bytes=4096)
contexts = [log.context(0, 0, 1, f"op{i}") for i in range(3)]
number = 0
while True:
    for _ in range(int(sys.argv[2])):
        number += 1
        thread.append(1_000 + number, (1 << 33) + number if number % 50 == 0 else number, number, contexts[number % 3])
    print(number, flush=True)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def one_span(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.spans(1, [(100, 5, 5, process.context("x"))])


@pytest.mark.parametrize("batch", [1, 37, 500])
def test_a_killed_writer_loses_no_finished_span(run_dir: Path, batch: int) -> None:
    command = [sys.executable, "-c", WRITER, str(run_dir / "live"), str(batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        finished = [int(writer.stdout.readline()) for _ in range(4)][-1]
        writer.send_signal(signal.SIGKILL)
        finished = max([finished, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
    assert writer.returncode == -signal.SIGKILL
    assert needs_recovery(run_dir)
    recover(run_dir)
    rows = read_spans(run_dir, writer.pid)
    numbers = [row["start_ns"] - OFFSET_NS - 1_000 for row in rows]
    assert numbers == list(range(1, len(rows) + 1))
    assert finished <= len(rows) <= finished + batch
    names = {row["context_id"]: row["name"] for row in read_rows(run_dir, "contexts/*/*")}
    for number, row in enumerate(rows, start=1):
        assert (row["dur_ns"] % (1 << 33), row["self_ns"]) == (number, number)
        assert names[row["context_id"]] == f"op{number % 3}"
    info = read_run_file(run_dir)
    assert (info["status"], info["dropped"], info["warnings"]) == ("recovered", [], [])
    assert info["spans"]["count"] == len(rows)
    assert [process["pid"] for process in info["processes"]] == [writer.pid]
    assert not needs_recovery(run_dir)


def test_recovering_again_changes_nothing(run_dir: Path) -> None:
    one_span(run_dir)
    recover(run_dir)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    recover(run_dir)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_what_was_converted_before_the_kill_stays(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepseek_prof.recording.converter.PENDING_BYTES", 1)
    process = add_process(run_dir, os.getpid())
    op = process.context("x")
    process.spans(1, [(100 + i, 5, 5, op) for i in range(400)])
    converter = Converter(run_dir, max_size_bytes=1 << 40)
    converter.poll()
    assert 0 < converter.spans_written < 400
    del converter  # as the kernel does for a killed process, this frees the lock
    process.describe(ended_ns=600)
    recover(run_dir)
    assert [row["start_ns"] - OFFSET_NS for row in read_spans(run_dir)] == list(range(100, 500))
    assert read_run_file(run_dir)["spans"]["count"] == 400


def test_the_end_is_the_last_sign_of_life(run_dir: Path) -> None:
    one_span(run_dir)
    for path in (run_dir / "live").glob("*/*"):
        os.utime(path, ns=(5_000_000_000, 5_000_000_000))
    recover(run_dir)
    assert read_run_file(run_dir)["ended_ns"] == 5_000_000_000


def test_a_known_end_stays(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", ended_ns=77, exit_code=3)
    one_span(run_dir)
    recover(run_dir)
    info = read_run_file(run_dir)
    assert (info["ended_ns"], info["exit_code"], info["status"]) == (77, 3, "recovered")


def test_a_run_killed_before_its_first_process_recovers_to_nothing(run_dir: Path) -> None:
    recover(run_dir)
    info = read_run_file(run_dir)
    assert (info["status"], info["spans"]["count"], info["ended_ns"]) == ("recovered", 0, OFFSET_NS)


def test_a_run_that_is_being_recorded_is_left_alone(run_dir: Path) -> None:
    one_span(run_dir)
    with (run_dir / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_recording(run_dir)
        assert not needs_recovery(run_dir)
        with pytest.raises(OutputError, match="another process"):
            recover(run_dir)
    assert not is_recording(run_dir)
    assert read_run_file(run_dir)["status"] == "running"
    recover(run_dir)
    assert len(read_spans(run_dir)) == 1


def test_the_limit_of_the_recording_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepseek_prof.recording.converter._MIN_PART_ROWS", 150)
    run_dir = make_run(tmp_path / "run", settings={"max_size_bytes": 4_000})
    process = add_process(run_dir)
    op = process.context("x")
    process.spans(1, [(100 + i, 5, 5, op) for i in range(1_000)])
    recover(run_dir)
    summed = sum(row["count"] for row in read_rows(run_dir, "sums/*/*/*"))
    assert summed > 0
    assert summed + len(read_spans(run_dir)) == 1_000


@pytest.mark.parametrize("settings", [None, [], {}, {"max_size_bytes": "much"}, {"max_size_bytes": -1}])
def test_unknown_settings_mean_the_default_limit(tmp_path: Path, settings: object) -> None:
    run_dir = make_run(tmp_path / "run", settings=settings)
    one_span(run_dir)
    recover(run_dir)
    assert len(read_spans(run_dir)) == 1


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=str(tmp_path)):
        recover(tmp_path)


def test_a_run_without_a_clock_is_damaged_and_stays_as_it_is(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", clock={"monotonic_ns": "x"})
    one_span(run_dir)
    with pytest.raises(RunDamagedError, match="clock"):
        recover(run_dir)
    assert len(list((run_dir / "live").glob("*/t*"))) == 1
    assert needs_recovery(run_dir)


def test_a_finished_run_needs_none(run_dir: Path) -> None:
    (run_dir / "live").rmdir()
    assert not needs_recovery(run_dir)
    recover(run_dir)
    assert read_run_file(run_dir)["status"] == "running"
