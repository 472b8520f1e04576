"""Events of this process as JSON Lines: ``live/<pid>-<start>/events-NNNNN.jsonl``; see docs/logs.md.

Each line is one ``write`` to a file opened for appending, so that a killed process loses no finished line. Nothing here
runs unless there is an event. Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deepseek_prof.model import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from deepseek_prof.collectors.child import Attachment

ROTATE_BYTES = 8 << 20
MAX_FILES = 64
"""A process writes at most so many files of ``ROTATE_BYTES``: half a gigabyte."""
MAX_TEXT = 16_384
MAX_LINE_BYTES = 262_144
_MAX_ITEMS = 100
_MAX_DEPTH = 4


class EventLog:
    """Writes the events of one process; safe from any thread, in a forked child, and in a signal handler."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._local = threading.local()
        self._offset_ns: int | None = None
        self._number = 0
        self._directory: str | None = None
        self._torn = False
        self.lost = 0
        """Events that could not be written."""

    def emit(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write an event with the place of the calling thread. Never raises, and what it causes itself is no event."""
        if getattr(self._local, "busy", False):
            return
        self._local.busy = True
        try:
            self._write(self._line(level, event, fields))
        except Exception:  # noqa: BLE001  # a value's own code may raise anything; the program must not notice
            self.lost += 1
        finally:
            self._local.busy = False

    def _line(self, level: str, event: str, fields: Mapping[str, Any]) -> bytes:
        step, phase, layer = self._attachment.position()
        record: dict[str, Any] = {
            "ts_ns": time.monotonic_ns() + self._clock_offset_ns(),
            "level": level,
            "event": event[:MAX_TEXT],
            "step": step if step >= 0 else None,
            "phase": Phase(phase).label,
            "layer": layer or None,
            "op": None,
            "fields": {str(key)[:200]: plain(value) for key, value in list(fields.items())[:_MAX_ITEMS]},
        }
        line = _encode(record)
        if len(line) > MAX_LINE_BYTES:
            record["fields"] = {"message": str(record["fields"].get("message", ""))[:MAX_TEXT], "truncated": True}
            line = _encode(record)
        return line

    def _clock_offset_ns(self) -> int:
        """From CLOCK_MONOTONIC to the Unix epoch as the spans of this run have it."""
        if self._offset_ns is None:
            self._offset_ns = unix_offset_ns(self._attachment.live_root.parent)
        return self._offset_ns

    def _write(self, line: bytes) -> None:
        directory = str(self._attachment.directory)
        if directory != self._directory:  # the first event, or the first one after a fork
            self._attachment.make_directory()
            self._directory, self._number, self._torn = directory, 0, False
        if self._number >= MAX_FILES:
            self.lost += 1
            return
        # Opened for each event: a descriptor that we kept could be closed by the program, and its number be another
        # file's by the next event.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(f"{directory}/events-{self._number:05d}.jsonl", flags, 0o600)
        try:
            if os.fstat(fd).st_size >= ROTATE_BYTES:
                self._number += 1
            data = b"\n" + line if self._torn else line
            self._torn = os.write(fd, data) < len(data)
        finally:
            os.close(fd)
        if self._torn:
            self.lost += 1


def unix_offset_ns(run_dir: Path) -> int:
    """What leads from CLOCK_MONOTONIC to the Unix epoch as the spans of this run have it."""
    try:
        clock = json.loads((run_dir / "run.json").read_text("utf-8"))["clock"]
        return int(clock["epoch_ns"]) - int(clock["monotonic_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return time.time_ns() - time.monotonic_ns()


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON can hold it: long texts cut, what JSON has no type for as text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, int):
        return int(value) if -(1 << 63) <= value < 1 << 63 else str(value)[:MAX_TEXT]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {str(key)[:200]: plain(each, depth + 1) for key, each in list(value.items())[:_MAX_ITEMS]}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [plain(each, depth + 1) for each in list(value)[:_MAX_ITEMS]]
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        return plain(value.item(), _MAX_DEPTH)  # a scalar tensor or array
    return repr(value)[:2000]


def _encode(record: Mapping[str, Any]) -> bytes:
    # Half a surrogate pair is no valid JSON: a question mark stands for it.
    return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "replace")
