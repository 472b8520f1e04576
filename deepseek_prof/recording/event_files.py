"""Moves the events of a process into the run's ``logs/``, and writes the recording's own beside them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepseek_prof.recording.part_files import PartFiles
from deepseek_prof.recording.segments import Int64s
from deepseek_prof.trace.log_view import parse_line

OWN_NAME = "part-recorder.jsonl"
"""The recording process's own events of one rank."""

StepsOf = Callable[[Int64s], list[int | None]]
"""Steps at these times since the Unix epoch; None before the first."""


class RecordingEvents:
    """The events that the recording process itself writes: starts and ends, steps, losses."""

    def __init__(self, run_dir: Path) -> None:
        self._logs = run_dir / "logs"

    def emit(
        self,
        level: str,
        event: str,
        fields: Mapping[str, Any],
        *,
        ts_ns: int | None = None,
        rank: int = 0,
        step: int | None = None,
    ) -> None:
        """Append one event. A full disk costs the event, nothing else."""
        record = {
            "ts_ns": time.time_ns() if ts_ns is None else ts_ns,
            "level": level,
            "event": event,
            "step": step,
            "phase": None,
            "layer": None,
            "op": None,
            "fields": dict(fields),
        }
        line = (json.dumps(record, ensure_ascii=False, default=str) + "\n").encode("utf-8", "replace")
        folder = self._logs / f"rank={rank}" / f"pid={os.getpid()}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / OWN_NAME, flags, 0o600)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError:
            return  # what the spans need matters more, and says so itself

    def last_ns(self, *events: str) -> int:
        """When the last of these events was, as an earlier conversion of this run has written it; 0 for none."""
        last_ns = 0
        for path in self._logs.glob("rank=*/pid=*/part-*.jsonl"):
            for line in path.read_bytes().splitlines():
                row = parse_line(line)
                if row is not None and row["event"] in events and isinstance(row["ts_ns"], int):
                    last_ns = max(last_ns, row["ts_ns"])
        return last_ns


class EventFiles:
    """Takes event files out of ``live/``: by rename, so that none is there twice or not at all."""

    def __init__(self, files: PartFiles) -> None:
        self._files = files

    def convert(self, live: Path, pid: int, steps_of: StepsOf | None, *, final: bool) -> None:
        """Move the event files of the process in ``live``; without ``final`` not the one being written.

        ``steps_of`` gives each event the step that it belongs to: while the program runs, the first step's end is known
        late. Raises OSError.
        """
        found = sorted(live.glob("events-*.jsonl"))
        for path in found if final else found[:-1]:
            folder = self._files.directory("logs", pid)
            folder.mkdir(parents=True, exist_ok=True)
            numbers = [int(part.stem[5:]) for part in folder.glob("part-*.jsonl") if part.stem[5:].isdecimal()]
            target = folder / f"part-{max(numbers, default=-1) + 1:05d}.jsonl"
            path.rename(target)
            if steps_of is not None:
                _settle_steps(target, steps_of)


def _settle_steps(path: Path, steps_of: StepsOf) -> None:
    rows = [row for row in map(parse_line, path.read_bytes().splitlines()) if row is not None]
    if not rows:
        return
    steps = steps_of(np.array([row["ts_ns"] for row in rows], dtype=np.int64))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            for row, step in zip(rows, steps, strict=True):
                file.write(json.dumps({**row, "step": step}, ensure_ascii=False) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
