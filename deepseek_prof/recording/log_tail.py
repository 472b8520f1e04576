"""Follows the log records of a run while it is recorded: events from the files being written, spans from live segments.

Reads only: the recording is neither changed nor slowed down.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deepseek_prof.analysis.logs import EVENT_COLUMNS, LogRecord, event_record
from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.recording.recover import is_recording
from deepseek_prof.trace.log_view import live_event_files, parse_line, rank_of_live
from deepseek_prof.trace.run_file import read_run_file

Row = Mapping[str, Any]
POLL_S = 0.25
_DEAD_AFTER_S = 5.0
"""A run that says it is running, and nobody records or converts it, is over after this time."""
_PART = re.compile(r"rank=(\d{1,9})/pid=(\d{1,10})", re.ASCII)


class EventTail:
    """Gives each event once, whether its file is being written, was moved away, or appeared at its place at once.

    A file keeps its inode when it is moved from ``live/`` to ``logs/``, and its lines when their steps are settled
    there, in a file of another inode: lines are told by process, and counted.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._offsets: dict[tuple[int, int], int] = {}
        self._told: dict[tuple[int, str], int] = {}

    def poll(self) -> list[dict[str, Any]]:
        """New events as rows of the ``logs`` view, by time."""
        rows: list[dict[str, Any]] = []
        for path in live_event_files(self._run_dir):
            rank = rank_of_live(path.parent)
            pid = int(path.parent.name.partition("-")[0])
            rows.extend(self._new_lines(path, rank, (pid, "live")))
        for path, rank, pid in self._parts():
            if self._is_recorders(pid):
                rows.extend(self._new_lines(path, rank, (pid, "own")))
        return sorted(rows, key=lambda row: row["ts_ns"])

    def rest(self) -> list[dict[str, Any]]:
        """When the run is complete: the events that no poll has seen, by time."""
        rows = self.poll()
        counted: dict[int, int] = {}
        for path, rank, pid in self._parts():
            if self._is_recorders(pid):
                continue
            for row in _rows(path.read_bytes(), rank):
                counted[pid] = counted.get(pid, 0) + 1
                if counted[pid] > self._told.get((pid, "live"), 0):
                    rows.append(row)
        return sorted(rows, key=lambda row: row["ts_ns"])

    def _new_lines(self, path: Path, rank: int, key: tuple[int, str]) -> Iterator[dict[str, Any]]:
        try:
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                offset = self._offsets.get((stat.st_dev, stat.st_ino), 0)
                if stat.st_size <= offset:
                    return
                file.seek(offset)
                data = file.read()
        except OSError:
            return  # moved away just now: the rest of it is read where it went
        whole = data[: data.rfind(b"\n") + 1]  # the line that is being written waits for its end
        self._offsets[stat.st_dev, stat.st_ino] = offset + len(whole)
        for row in _rows(whole, rank):
            self._told[key] = self._told.get(key, 0) + 1
            yield row

    def _parts(self) -> Iterator[tuple[Path, int, int]]:
        for path in sorted((self._run_dir / "logs").glob("rank=*/pid=*/part-*.jsonl")):
            match = _PART.fullmatch("/".join(path.parts[-3:-1]))
            if match is not None:
                yield path, int(match[1]), int(match[2])

    def _is_recorders(self, pid: int) -> bool:
        """Whether the recording process itself writes this folder: its file is never moved."""
        return not self._was_live(pid)

    def _was_live(self, pid: int) -> bool:
        if (pid, "live") in self._told:
            return True
        return any(path.parent.name.startswith(f"{pid}-") for path in live_event_files(self._run_dir))


def _rows(data: bytes, rank: int) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        row = parse_line(line)
        if row is not None:
            yield {**row, "rank": rank}


def follow_logs(
    run_dir: Path,
    matches: Callable[[Row], bool],
    spans: Callable[[], list[LogRecord]],
    before: int,
    show: Callable[[LogRecord], None],
) -> None:
    """Show the last ``before`` matching events, then what is new, until the run ends.

    ``matches`` decides on events, as rows of the ``logs`` view; ``spans`` gives the operator records that are new since
    it was called last.
    """
    tail = EventTail(run_dir)
    first: deque[LogRecord] = deque(maxlen=before)
    first.extend(_record(row) for row in tail.poll() if matches(row))
    for record in first:
        show(record)
    spans()
    alive_s = time.monotonic()
    while True:
        over = _is_over(run_dir)  # asked before reading: what is written until then is read below
        if is_recording(run_dir):
            alive_s = time.monotonic()
        elif time.monotonic() - alive_s > _DEAD_AFTER_S:
            over = True
        rows = tail.rest() if over else tail.poll()
        records = [_record(row) for row in rows if matches(row)] + spans()
        for record in sorted(records, key=lambda record: record.ts_ns):
            show(record)
        if over:
            return
        time.sleep(POLL_S)


def _record(row: Row) -> LogRecord:
    return event_record(tuple(row.get(name) for name in EVENT_COLUMNS))


def _is_over(run_dir: Path) -> bool:
    try:
        return read_run_file(run_dir).get("status") != "running"
    except DeepseekProfError:
        return True  # removed
