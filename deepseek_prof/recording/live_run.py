"""Opens a run while it is recorded with every span that has ended, those too that wait for conversion in ``live/``.

Reads only, beside the converter, which owns the files: what moves meanwhile is neither missed nor shown twice.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from deepseek_prof.analysis.totals import added, sums_of, write_totals
from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import Kind
from deepseek_prof.recording.context_table import STEP_CONTEXT_NAME
from deepseek_prof.recording.live_format import SegmentState
from deepseek_prof.recording.live_process import LiveProcess, find_processes, segment_state, steps_file_name
from deepseek_prof.recording.part_files import SEGMENTS_KEY, read_footer
from deepseek_prof.recording.part_totals import PartTotals
from deepseek_prof.recording.segments import Segment, scan_segment
from deepseek_prof.recording.span_table import spans_to_arrow
from deepseek_prof.recording.steps import steps_to_arrow
from deepseek_prof.trace.log_view import rank_of_live
from deepseek_prof.trace.run import Run
from deepseek_prof.trace.run_file import read_run_file
from deepseek_prof.trace.views import run_files, select_files

_ATTEMPTS = 8
_RETRY_S = 0.05
_MOST_FILES = 1 << 16

_LIVE_TABLES = """
CREATE TABLE live_spans AS SELECT * FROM raw_spans LIMIT 0;
ALTER VIEW raw_spans RENAME TO converted_spans;
CREATE VIEW raw_spans AS SELECT * FROM converted_spans UNION ALL BY NAME SELECT * FROM live_spans;
"""
_ADD_SPANS = "INSERT INTO live_spans BY NAME SELECT {rank} AS rank, {pid} AS pid, * FROM arrived"
_ADD_CONTEXTS = """
INSERT INTO process_contexts BY NAME SELECT {rank} AS rank, {pid} AS pid, * FROM arrived WHERE context_id NOT IN
    (SELECT context_id FROM process_contexts WHERE rank = {rank} AND pid = {pid})
"""


@dataclass(frozen=True)
class _Waiting:
    """What one process has written and may not be converted yet: its segments by name (``<folder>/<file>``)."""

    process: LiveProcess
    segments: dict[str, Segment]


class LiveRunReader:
    """Opens one run again and again while it grows; keeps what need not be read twice."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._processes: dict[str, LiveProcess] = {}
        self._converted: dict[Path, frozenset[str]] = {}
        self._totals = PartTotals()
        _raise_file_limit()

    def open(self) -> Run:
        """The run as it is now, with its totals. The caller closes it.

        Raises:
            RunNotFoundError: there is no run any more.
            RunDamagedError: a file of it is damaged.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._open()
            except RunDamagedError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_RETRY_S)  # a process's files are just being moved to its rank
        raise AssertionError("the last attempt returns or raises")

    def _open(self) -> Run:
        # Before the files: what moves from here to there meanwhile is in both, and told apart.
        waiting = self._waiting()
        pinned = _pinned(self._run_dir)
        try:
            run = _PinnedRun.open(self._run_dir, pinned)
        except BaseException:
            _release(pinned)
            raise
        assert isinstance(run, _PinnedRun)
        run.pinned = pinned
        try:
            self._add(run, waiting, pinned)
            self._keep_totals(run, pinned)
        except BaseException:
            run.close()
            raise
        return run

    def _waiting(self) -> list[_Waiting]:
        try:
            processes, _ = find_processes(self._run_dir / "live", self._processes)
        except FileNotFoundError:
            return []  # converted to its end
        return [_Waiting(process, _segments_of(process)) for process in processes]

    def _converted_segments(self, pinned: Mapping[Path, int]) -> frozenset[str]:
        parts = self._span_files(pinned, "part-")
        for path in parts:
            if path not in self._converted:
                footer = read_footer(Path(f"/proc/self/fd/{pinned[path]}"))
                self._converted[path] = frozenset(json.loads((footer.metadata or {}).get(SEGMENTS_KEY, b"[]")))
        return frozenset().union(*(self._converted[path] for path in parts))

    def _span_files(self, pinned: Mapping[Path, int], prefix: str) -> dict[Path, int]:
        spans = self._run_dir / "spans"
        return {path: fd for path, fd in pinned.items() if path.name.startswith(prefix) and spans in path.parents}

    def _keep_totals(self, run: Run, pinned: Mapping[Path, int]) -> None:
        """As :func:`deepseek_prof.analysis.totals.keep_totals`, but reads only parts that are new."""
        tables = self._totals.refresh(run, self._span_files(pinned, "part-"))
        steps = [select_files(self._run_dir, "spans", [path], pinned) for path in self._span_files(pinned, "steps-")]
        sums = [sums_of(f"({spans})") for spans in ("FROM live_spans", *steps)]
        if tables:
            run.connection.register("part_sums", pa.concat_tables(tables))
            sums.append("FROM part_sums")
        write_totals(run, added(f"({' UNION ALL BY NAME '.join(sums)})"))
        if tables:
            run.connection.unregister("part_sums")

    def _add(self, run: Run, waiting: list[_Waiting], pinned: Mapping[Path, int]) -> None:
        run.connection.execute("SET threads = 1")  # the other cores are the program's
        run.connection.execute(_LIVE_TABLES)
        converted = self._converted_segments(pinned)
        clock = read_run_file(self._run_dir).get("clock") or {}
        offset_ns = int(clock.get("epoch_ns") or 0) - int(clock.get("monotonic_ns") or 0)
        for each in waiting:
            process = each.process
            # After the segments: both then hold all that the spans refer to.
            process.refresh_contexts()
            process.steps.refresh(being_written=True)
            steps = process.steps.boundaries
            segments = [segment for name, segment in each.segments.items() if name not in converted]
            rank, pid = int(rank_of_live(process.directory)), int(process.pid)
            tables = []
            if segments:
                tables.append(spans_to_arrow(segments, process.contexts, process.signatures, steps, offset_ns)[0])
            if len(steps.start_ns):
                process.contexts.add_special(STEP_CONTEXT_NAME, Kind.STEP)
                tables.append(steps_to_arrow(steps, offset_ns, first=self._steps_written(process, pinned)))
            for table in tables:
                _insert(run, _ADD_SPANS.format(rank=rank, pid=pid), table)
            if tables:
                _insert(run, _ADD_CONTEXTS.format(rank=rank, pid=pid), process.contexts.to_arrow())

    def _steps_written(self, process: LiveProcess, pinned: Mapping[Path, int]) -> int:
        """How many of the process's steps the converter has written."""
        name = steps_file_name(process, self._processes.values())
        for path, fd in pinned.items():
            if path.name == name and path.parent.name == f"pid={process.pid}":
                return int(read_footer(Path(f"/proc/self/fd/{fd}")).num_rows)
        return 0


class _PinnedRun(Run):
    """Closes the descriptors of its files with itself."""

    pinned: Mapping[Path, int] = MappingProxyType({})

    def close(self) -> None:
        super().close()
        _release(self.pinned)
        self.pinned = {}


def _pinned(run_dir: Path) -> dict[Path, int]:
    """The Parquet files of the run, each opened; one that is removed just now is left out."""
    found: dict[Path, int] = {}
    for _, path in run_files(run_dir):
        with suppress(FileNotFoundError):
            found[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return found


def _raise_file_limit() -> None:
    """A long run has a thousand parts, and all are open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _release(pinned: Mapping[Path, int]) -> None:
    for fd in pinned.values():
        os.close(fd)


def _insert(run: Run, sql: str, rows: pa.Table) -> None:
    run.connection.register("arrived", rows)
    run.connection.execute(sql)
    run.connection.unregister("arrived")


def _segments_of(process: LiveProcess) -> dict[str, Segment]:
    found = {}
    for path in process.segments():
        with suppress(FileNotFoundError):  # converted just now: a part holds it
            if segment_state(path) is not SegmentState.CONVERTED:
                segment = scan_segment(path, being_written=True)
                if len(segment):
                    found[f"{process.directory.name}/{path.name}"] = segment
    return found
