"""Writes a run directory as a recording leaves it: ``run.json`` and live files, without torch and without a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepseek_prof.model import SCHEMA_VERSION, Kind, Phase
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.live_format import ContextsLogWriter, SegmentWriter
from deepseek_prof.trace.run_file import read_run_file, write_run_file

OFFSET_NS = 1_790_000_000_000_000_000
"""From the clock of the live files to the Unix epoch, as ``run.json`` tells it."""
DEAD_PID = 4_194_400
"""Above the largest pid that Linux gives out: no such process runs."""
SEGMENT_BYTES = 4096
NO_LIMIT = 1 << 40
"""A run's largest size where the size does not matter."""


def make_run(run_dir: Path, **changes: Any) -> Path:
    """A run that is being recorded: ``run.json`` and an empty ``live/``. ``changes`` override keys of ``run.json``."""
    (run_dir / "live").mkdir(parents=True)
    data = {
        "schema_version": SCHEMA_VERSION,
        "id": "0" * 16,
        "status": "running",
        "created_ns": OFFSET_NS,
        "ended_ns": None,
        "clock": {"monotonic_ns": 5_000, "epoch_ns": OFFSET_NS + 5_000},
        "settings": {"max_size_bytes": 1 << 30},
        "processes": [],
        "dropped": [],
        "warnings": [],
    }
    write_run_file(run_dir, {**data, **changes})
    return run_dir


@dataclass
class WrittenProcess:
    """One folder under ``live/``, written by the plain Python writers."""

    directory: Path
    pid: int
    log: ContextsLogWriter
    threads: dict[int, SegmentWriter] = field(default_factory=dict)
    _steps: SegmentWriter | None = None

    def context(self, text: str, parent: int = 0, kind: Kind = Kind.OP, phase: Phase = Phase.FORWARD) -> int:
        """Adds a context and returns its id in the log."""
        return self.log.context(parent, kind, phase, text)

    def spans(self, tid: int, spans: Sequence[tuple[int, ...]]) -> None:
        """Writes ``(start_ns, dur_ns, self_ns, context[, signature])`` on the thread ``tid``."""
        if tid not in self.threads:
            prefix = f"t{len(self.threads)}"
            self.threads[tid] = SegmentWriter(self.directory, prefix, self.pid, tid, size_bytes=SEGMENT_BYTES)
        for span in spans:
            self.threads[tid].append(*span)

    def steps(self, boundaries: Sequence[tuple[int, int]]) -> None:
        """Writes finished steps as ``(start_ns, dur_ns)``."""
        if self._steps is None:
            self._steps = SegmentWriter(self.directory, "steps", self.pid, 0, size_bytes=SEGMENT_BYTES)
        for start_ns, dur_ns in boundaries:
            self._steps.append(start_ns, dur_ns, dur_ns, 0)

    def describe(self, **description: Any) -> None:
        """Writes ``process.json``."""
        (self.directory / "process.json").write_text(json.dumps({"pid": self.pid, **description}), encoding="utf-8")

    def end(self, **description: Any) -> None:
        """Closes the files, as a process does that ends well."""
        for writer in self.threads.values():
            writer.close()
        if self._steps is not None:
            self._steps.close()
        self.log.close()
        self.describe(ended_ns=1 << 40, **description)


def add_process(run_dir: Path, pid: int = DEAD_PID, start: int = 0x10) -> WrittenProcess:
    """A new folder under ``live/`` for a process that began at ``start``."""
    directory = run_dir / "live" / f"{pid}-{start:x}"
    directory.mkdir()
    return WrittenProcess(directory, pid, ContextsLogWriter(directory / "contexts.log"))


def read_rows(run_dir: Path, pattern: str) -> list[dict[str, Any]]:
    """The rows of all Parquet files that match, in the files' order, Hive columns left out."""
    tables = [pq.ParquetFile(path).read() for path in sorted(run_dir.glob(pattern))]
    rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="permissive").to_pylist() if tables else []
    return rows


def read_spans(run_dir: Path, pid: int | str = "*", rank: int | str = "*") -> list[dict[str, Any]]:
    """The raw spans of a process."""
    return read_rows(run_dir, f"spans/rank={rank}/pid={pid}/part-*.parquet")


def finish(run_dir: Path) -> dict[str, Any]:
    """Converts all of the run and returns its ``run.json``."""
    Converter(run_dir, max_size_bytes=NO_LIMIT).finish()
    return read_run_file(run_dir)


def starts(rows: Sequence[dict[str, Any]]) -> list[int]:
    """The spans' starts on the clock of the live files."""
    return [row["start_ns"] - OFFSET_NS for row in rows]
