"""What the converter writes into ``run.json``: processes, totals, what was dropped and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.recording.eviction import summed_spans
from deepseek_prof.recording.live_process import LiveProcess
from deepseek_prof.recording.part_files import PartFiles
from deepseek_prof.text import counted
from deepseek_prof.trace.run_file import read_run_file, update_run_file

_SIZE_LIMIT_REASON = "size limit: only their sums by context are kept"
_NOT_WRITTEN_REASON = "the recorder could not write them"


def loss(pid: object, reason: object, spans: int) -> str:
    """An entry of ``dropped`` in ``run.json``, told to the user."""
    return f"{counted(spans, 'span')} of process {pid} {'is' if spans == 1 else 'are'} missing: {reason}"


class RunRecord:
    """Collects warnings and losses and writes them down at once, since the conversion may be killed."""

    def __init__(self, run_dir: Path, events: RecordingEvents) -> None:
        self._run_dir = run_dir
        self._events = events
        self._warnings: list[str] = []
        self._dropped: list[dict[str, Any]] = []
        self._offset_ns: int | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings of this conversion, in order."""
        return tuple(self._warnings)

    def read(self) -> dict[str, Any]:
        """The present ``run.json``. Raises RunDamagedError or RunNotFoundError."""
        return read_run_file(self._run_dir)

    def clock_offset_ns(self) -> int:
        """From CLOCK_MONOTONIC to the Unix epoch. Raises RunDamagedError if ``run.json`` does not tell."""
        if self._offset_ns is None:
            clock: Any = self.read().get("clock")
            try:
                self._offset_ns = int(clock["epoch_ns"]) - int(clock["monotonic_ns"])
            except (TypeError, KeyError, ValueError) as error:
                raise RunDamagedError(
                    f"{self._run_dir / 'run.json'} lacks its clock: spans cannot be dated."
                ) from error
        return self._offset_ns

    def warn(self, text: str) -> None:
        """Notes a warning, once."""
        if text not in self._warnings:
            self._warnings.append(text)
            self._save()

    def drop(self, pid: int, reason: str, spans: int) -> None:
        """Notes that spans are lost, once a reason; ``spans`` is at most how many."""
        if any(entry["pid"] == pid and entry["reason"] == reason for entry in self._dropped):
            return
        message = loss(pid, reason, spans)
        self._events.emit("warning", "spans_dropped", {"message": message, "pid": pid, "spans": spans})
        self._dropped.append({"pid": pid, "reason": reason, "spans": spans})
        self._save()

    def note_damage(self, pid: int, name: str, damage: str, spans: int) -> None:
        """Warns of a damaged live file, and notes the spans, at most how many, that it costs."""
        self.warn(f"{name} of process {pid} is damaged: {damage}")
        self.drop(pid, f"{name} is damaged: {damage}", spans)

    def complete(self, processes: Sequence[LiveProcess], files: PartFiles, clock_offset_ns: int) -> None:
        """Adds the processes and the totals; ``clock_offset_ns`` leads from the processes' clock to the Unix epoch.

        Raises OSError if ``run.json`` cannot be replaced.
        """
        descriptions = []
        by_pid: dict[int, int] = {}
        for process in processes:
            description = {"pid": process.pid, "rank": 0, "warnings": [], **process.description()}
            for key in ("start_ns", "ended_ns"):
                if isinstance(description.get(key), int):
                    description[key] += clock_offset_ns
            _estimate_overhead(description, sum(part.rows for part in files.parts if part.pid == process.pid))
            reported = description.get("dropped_spans")
            lost = max(sum(process.dropped_spans.values()), reported if isinstance(reported, int) else 0)
            description["dropped_spans"] = lost
            if lost:
                self.drop(process.pid, str(description.get("dropped_reason") or _NOT_WRITTEN_REASON), lost)
            descriptions.append(description)
        for pid in sorted({process.pid for process in processes} | {part.pid for part in files.parts}):
            by_pid[pid] = summed_spans(files, pid)
            if by_pid[pid]:
                self.drop(pid, _SIZE_LIMIT_REASON, by_pid[pid])
        update_run_file(
            self._run_dir,
            processes=descriptions,
            spans={"count": files.rows, "size_bytes": files.size_bytes},
            **self._merged(self.read()),
        )

    def _merged(self, data: dict[str, Any]) -> dict[str, Any]:
        """Our warnings and losses after those that others, or an earlier conversion, have noted."""
        warnings, dropped = (
            present if isinstance(present, list) else [] for present in (data.get("warnings"), data.get("dropped"))
        )
        noted = {(entry["pid"], entry["reason"]) for entry in self._dropped}
        others = [e for e in dropped if not isinstance(e, dict) or (e.get("pid"), e.get("reason")) not in noted]
        return {
            "warnings": [*(text for text in warnings if text not in self._warnings), *self._warnings],
            "dropped": [*others, *self._dropped],
        }

    def _save(self) -> None:
        try:
            update_run_file(self._run_dir, **self._merged(self.read()))
        except OSError:
            # The disk is full: kept in memory, and written with the next note or at the end.
            return


def _estimate_overhead(description: dict[str, Any], spans: int) -> None:
    """A process that was killed could not say what its recording cost in all: it follows from what it has recorded."""
    overhead = description.get("overhead")
    if (
        isinstance(overhead, dict)
        and "total_ns" not in overhead
        and isinstance(overhead.get("operator_ns"), (int, float))
    ):
        description["overhead"] = {**overhead, "total_ns": round(spans * overhead["operator_ns"])}
