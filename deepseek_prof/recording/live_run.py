"""Opens a run while it is recorded with every span that has ended, those too that wait for conversion in ``live/``.

Reads only, beside the converter, which owns the files: what moves meanwhile is neither missed nor shown twice.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.live_format import SegmentState
from deepseek_prof.recording.live_process import LiveProcess, find_processes, segment_state
from deepseek_prof.recording.part_files import SEGMENTS_KEY, read_footer
from deepseek_prof.recording.segments import Segment, scan_segment
from deepseek_prof.recording.span_table import spans_to_arrow
from deepseek_prof.trace.log_view import rank_of_live
from deepseek_prof.trace.run import Run
from deepseek_prof.trace.run_file import read_run_file

_ATTEMPTS = 8
_RETRY_S = 0.05

_LIVE_TABLES = """
CREATE TABLE live_spans AS SELECT * FROM raw_spans LIMIT 0;
ALTER VIEW raw_spans RENAME TO converted_spans;
CREATE VIEW raw_spans AS SELECT * FROM converted_spans UNION ALL BY NAME SELECT * FROM live_spans;
"""
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

    def open(self) -> Run:
        """The run as it is now. The caller closes it.

        Raises:
            RunNotFoundError: there is no run any more.
            RunDamagedError: a file of it is damaged.
        """
        for attempt in range(_ATTEMPTS):
            waiting = self._waiting()
            parts = self._parts()
            try:
                run = Run.open(self._run_dir)
            except RunDamagedError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_RETRY_S)  # a process's files are just being moved to its rank
                continue
            if self._parts() == parts or attempt == _ATTEMPTS - 1:
                break
            run.close()  # a part appeared: it may hold what waits
        try:
            self._add(run, waiting, self._converted_segments(parts))
        except BaseException:
            run.close()
            raise
        return run

    def _parts(self) -> list[Path]:
        return sorted((self._run_dir / "spans").glob("rank=*/pid=*/part-*.parquet"))

    def _waiting(self) -> list[_Waiting]:
        try:
            processes, _ = find_processes(self._run_dir / "live", self._processes)
        except FileNotFoundError:
            return []  # converted to its end
        return [_Waiting(process, _segments_of(process)) for process in processes]

    def _converted_segments(self, parts: list[Path]) -> frozenset[str]:
        for path in parts:
            if path not in self._converted:
                with suppress(RunDamagedError):  # removed for its size just now: opened or not, it is told by the views
                    text = (read_footer(path).metadata or {}).get(SEGMENTS_KEY, b"[]")
                    self._converted[path] = frozenset(json.loads(text))
        return frozenset().union(*(self._converted.get(path, frozenset()) for path in parts))

    def _add(self, run: Run, waiting: list[_Waiting], converted: frozenset[str]) -> None:
        run.connection.execute(_LIVE_TABLES)
        clock = read_run_file(self._run_dir).get("clock") or {}
        offset_ns = int(clock.get("epoch_ns") or 0) - int(clock.get("monotonic_ns") or 0)
        for each in waiting:
            segments = [segment for name, segment in each.segments.items() if name not in converted]
            if segments:
                self._add_process(run, each.process, segments, offset_ns)

    def _add_process(self, run: Run, process: LiveProcess, segments: list[Segment], offset_ns: int) -> None:
        # After the segments: both then hold all that the spans refer to.
        process.refresh_contexts()
        process.steps.refresh(being_written=True)
        boundaries = process.steps.boundaries
        spans, _ = spans_to_arrow(segments, process.contexts, process.signatures, boundaries, offset_ns)
        rank, pid = int(rank_of_live(process.directory)), int(process.pid)
        _insert(run, f"INSERT INTO live_spans BY NAME SELECT {rank} AS rank, {pid} AS pid, * FROM arrived", spans)
        _insert(run, _ADD_CONTEXTS.format(rank=rank, pid=pid), process.contexts.to_arrow())


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
