"""Follows the log records of a run while it is recorded: events from the files being written, spans from live segments.

Reads only: the recording is neither changed nor slowed down.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

from deepseek_prof.analysis.logs import EVENT_COLUMNS, LogRecord, event_record
from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.recording.event_files import OWN_NAME
from deepseek_prof.recording.recover import is_recording
from deepseek_prof.recording.span_tail import SpanTail
from deepseek_prof.trace.log_view import live_event_files, parse_line, rank_of_live
from deepseek_prof.trace.run_file import read_run_file

Row = Mapping[str, Any]
POLL_S = 0.25
_DEAD_AFTER_S = 5.0
"""A run that says it is running, and nobody records or converts it, is over after this time."""
_PART = re.compile(r"rank=(\d{1,9})/pid=(\d{1,10})", re.ASCII)


class EventTail:
    """Gives each event once, whether its file is being written, was moved to ``logs/``, or appeared there at once.

    A file that was seen in ``live/`` is kept open, so that its end is read wherever it goes. A process's lines keep
    their order when they are moved: at the end of the run those that no poll has seen are the last ones.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._open: dict[Path, BinaryIO] = {}
        self._torn: dict[Path, bytes] = {}
        self._told: dict[int, int] = {}

    def poll(self) -> list[dict[str, Any]]:
        """New events as rows of the ``logs`` view, by time."""
        own = sorted((self._run_dir / "logs").glob(f"rank=*/pid=*/{OWN_NAME}"))
        for path in [*live_event_files(self._run_dir), *own]:
            if path not in self._open:
                with suppress(FileNotFoundError):  # moved away just now
                    self._open[path] = path.open("rb")
        rows: list[dict[str, Any]] = []
        for path in list(self._open):
            moved = not path.exists()
            rows.extend(self._new_lines(path))
            if moved:
                self._open.pop(path).close()
        return sorted(rows, key=lambda row: row["ts_ns"])

    def rest(self) -> list[dict[str, Any]]:
        """When the run is complete: the events that no poll has seen, by time."""
        rows = self.poll()
        counted: dict[int, int] = {}
        for path in sorted((self._run_dir / "logs").glob("rank=*/pid=*/part-*.jsonl")):
            match = _PART.fullmatch("/".join(path.parts[-3:-1]))
            if match is None or path.name == OWN_NAME:
                continue
            pid = int(match[2])
            for row in _rows(path.read_bytes(), int(match[1])):
                counted[pid] = counted.get(pid, 0) + 1
                if counted[pid] > self._told.get(pid, 0):
                    rows.append(row)
        return sorted(rows, key=lambda row: row["ts_ns"])

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _new_lines(self, path: Path) -> Iterator[dict[str, Any]]:
        data = self._torn.get(path, b"") + self._open[path].read()
        end = data.rfind(b"\n") + 1
        self._torn[path] = data[end:]  # the line that is being written waits for its end
        if path.name == OWN_NAME:
            match = _PART.fullmatch("/".join(path.parts[-3:-1]))
            yield from _rows(data[:end], int(match[1]) if match is not None else 0)
            return
        pid = int(path.parent.name.partition("-")[0])
        for row in _rows(data[:end], rank_of_live(path.parent)):
            self._told[pid] = self._told.get(pid, 0) + 1
            yield row


def _rows(data: bytes, rank: int) -> Iterator[dict[str, Any]]:
    for line in data.splitlines():
        row = parse_line(line)
        if row is not None:
            yield {**row, "rank": rank}


def follow_logs(
    run_dir: Path,
    matches: Callable[[Row], bool],
    spans: SpanTail,
    before: int,
    show: Callable[[LogRecord], None],
) -> None:
    """Show the last ``before`` matching events, then what is new, until the run ends.

    ``matches`` decides on events, as rows of the ``logs`` view; ``spans`` gives operator
    records; those from before are not shown.
    """
    with closing(EventTail(run_dir)) as tail:
        first: deque[LogRecord] = deque(maxlen=before)
        first.extend(_record(row) for row in tail.poll() if matches(row))
        spans.poll()  # before anything is shown: whoever sees the first record may count on all that comes after it
        for record in first:
            show(record)
        last_seen_s = time.monotonic()
        over = False
        while not over:
            time.sleep(POLL_S)
            over = _is_over(run_dir)  # asked before reading: what is written until then is read below
            if is_recording(run_dir):
                last_seen_s = time.monotonic()
            over = over or time.monotonic() - last_seen_s > _DEAD_AFTER_S
            rows = tail.rest() if over else tail.poll()
            records = [_record(row) for row in rows if matches(row)] + (spans.rest() if over else spans.poll())
            for record in sorted(records, key=lambda record: record.ts_ns):
                show(record)


def _record(row: Row) -> LogRecord:
    return event_record(tuple(row.get(name) for name in EVENT_COLUMNS))


def _is_over(run_dir: Path) -> bool:
    try:
        return read_run_file(run_dir).get("status") != "running"
    except DeepseekProfError:
        return True  # removed
