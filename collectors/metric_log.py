"""Numbers that the program tells, as JSON Lines: ``live/<pid>-<start>/metrics-NNNNN.jsonl``; see docs/metrics.md.

Lines are ``{"ts_ns", "value", "name", "unit", "device"}``. What comes faster than ``FLUSH_NS`` is written together.
Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from typing import TYPE_CHECKING

from deepseek_prof.collectors.events import unix_offset_ns

if TYPE_CHECKING:
    from deepseek_prof.collectors.child import Attachment

PROGRAM = "program"
"""The ``device`` of what the program itself tells."""
FLUSH_NS = 50_000_000
"""A killed process loses the values of at most this time."""
ROTATE_BYTES = 1 << 20
MAX_FILES = 64
MAX_NAMES = 500
"""So many different names a process: more is a name made from a value."""
_MAX_NAME = 200


class MetricLog:
    """Writes the metrics of one process; safe from any thread and in a forked child. Never raises.

    Without a lock: a fork, or a signal's handler, may come while another thread is in here.
    """

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._offset_ns = unix_offset_ns(attachment.live_root.parent)
        self._sources: dict[tuple[str, str], str] = {}
        self._rests: dict[tuple[str, str, str, str], str] = {}
        self._directory = ""
        self._begin_file_series()
        self.lost = 0
        """Values that could not be written."""

    def _begin_file_series(self) -> None:
        # Written out together: one at a time, between the program's own work, each costs several times as much.
        self._pending: deque[tuple[int, float, str]] = deque()
        self._number = 0
        self._flushed_ns = 0

    def add(
        self, source: str, name: str, value: float, unit: str = "", *, device: str = PROGRAM, ts_ns: int = 0
    ) -> None:
        """Write a value of the metric ``name``, told by ``source``; ``ts_ns``: CLOCK_MONOTONIC, now by default.

        A name that another source tells already is followed by the source in brackets.
        """
        if str(self._attachment.directory) != self._directory:  # the first value, or the first one after a fork
            self._directory = str(self._attachment.directory)
            self._begin_file_series()
        now_ns = time.monotonic_ns()
        rest = self._rests.get((source, name, unit, device)) or self._new_rest(source, name, unit, device)
        if rest is None:
            self.lost += 1
            return
        self._pending.append(((ts_ns or now_ns) + self._offset_ns, float(value), rest))
        if now_ns - self._flushed_ns >= FLUSH_NS:
            self._flushed_ns = now_ns
            self.flush()

    def flush(self) -> None:
        """Write what waits, unless another process has left it to us."""
        lines = []
        while self._pending:
            ts_ns, value, rest = self._pending.popleft()
            lines.append(f'{{"ts_ns": {ts_ns}, "value": {json.dumps(value)}{rest}')
        if not lines or str(self._attachment.directory) != self._directory:
            return
        try:
            self._write(lines)
        except OSError:
            self.lost += len(lines)

    def _new_rest(self, source: str, name: str, unit: str, device: str) -> str | None:
        """What follows the value in each line of a metric; None for one name too many."""
        shown = name[:_MAX_NAME]
        if self._sources.get((device, shown), source) != source:
            shown = f"{shown} ({source})"
        if len(self._rests) >= MAX_NAMES:
            return None
        self._sources[device, shown] = source
        told = json.dumps({"name": shown, "unit": unit[:_MAX_NAME], "device": device})
        self._rests[source, name, unit, device] = rest = f", {told[1:]}"
        return rest

    def _write(self, lines: list[str]) -> None:
        if self._number >= MAX_FILES:
            self.lost += len(lines)
            return
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
        try:
            fd = self._open()
        except FileNotFoundError:
            self._attachment.make_directory()
            fd = self._open()
        try:
            if os.write(fd, data) < len(data):
                os.write(fd, b"\n")  # a full disk: what is cut off is one line
                self.lost += len(lines)
            if os.fstat(fd).st_size >= ROTATE_BYTES:
                self._number += 1
        finally:
            os.close(fd)

    def _open(self) -> int:
        """Opened for each write, as for events: the program may close descriptors that are not its own."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(f"{self._directory}/metrics-{self._number:05d}.jsonl", flags, 0o600)
