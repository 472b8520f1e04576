"""From a process's allocation segments (``a*.seg``) to the Parquet files under ``allocations/``, as it runs and after.

The segments are those of spans with other content: the time, the size in place of the duration, the address in place of
self time, and a :class:`MemoryEvent` in place of the signature. All records are wide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.live_format import MemoryEvent, SegmentState
from deepseek_prof.recording.live_process import LiveProcess, dispose, waiting_segments
from deepseek_prof.recording.part_files import SEGMENTS_KEY, PartFiles, part_number, read_footer, write_parquet
from deepseek_prof.recording.segments import Segment, scan_segment
from deepseek_prof.trace.schema import ALLOCATIONS

PENDING_BYTES = 8 << 20
"""Closed segments of one process are converted once they amount to this."""
_SHARE_OF_SIZE = 4
"""Allocations may take one part in so many of ``--max-size``."""
_CPU = "cpu"
SNAPSHOT_NAME = "memory-snapshot.pickle"
"""Written by collectors/memory_snapshot.py; opens in PyTorch's memory viewer."""
_SEGMENT = re.compile(r"\d{1,10}-[0-9a-z]+/a\d+-\d+\.seg", re.ASCII)


class AllocationConversion:
    """Converts the allocations of all processes of a run. ``warn`` takes what is worth a line to the user."""

    def __init__(self, run_dir: Path, files: PartFiles, max_size_bytes: int, warn: Callable[[str], None]) -> None:
        self._files = files
        self._max_size_bytes = max_size_bytes // _SHARE_OF_SIZE
        self._warn = warn
        self._size_bytes = 0
        newest: dict[Path, Path] = {}
        for path in sorted((run_dir / "allocations").glob("rank=*/pid=*/part-*.parquet")):
            self._size_bytes += path.stat().st_size
            newest[path.parent] = path
        for path in newest.values():
            for name in _converted(path):  # a crash may have left them undeleted
                (run_dir / "live" / name).unlink(missing_ok=True)

    def convert(
        self, process: LiveProcess, offset_ns: int, read_contexts: Callable[[], None], *, alive: bool, final: bool
    ) -> None:
        """Converts what has piled up, or, of a process that has ended or with ``final``, all that there is.

        ``read_contexts`` is called between reading records and naming their contexts: the log then holds them.
        """
        states = waiting_segments(sorted(process.directory.glob("a*-*.seg")), alive=alive)
        closed = [path for path, state in states.items() if state is not SegmentState.WRITING]
        paths = list(states)
        if alive and not final:
            paths = closed if sum(path.stat().st_size for path in closed) >= PENDING_BYTES else []
        if not paths:
            return
        segments = []
        for path in paths:
            segment = scan_segment(path, being_written=alive and states[path] is SegmentState.WRITING)
            if segment.damage is not None:
                self._warn(f"{path.name} of process {process.pid} is damaged: {segment.damage}")
            if segment.dropped:
                self._warn(f"allocations of process {process.pid} are missing: the recorder could not write them")
            segments.append(segment)
        read_contexts()
        filled = [segment for segment in segments if len(segment)]
        if filled:
            self._add(process, filled, paths, offset_ns)
        for path in paths:
            dispose(path, alive=alive)

    def _add(self, process: LiveProcess, segments: Sequence[Segment], paths: Sequence[Path], offset_ns: int) -> None:
        if self._size_bytes > self._max_size_bytes:
            self._warn(
                f"allocations of process {process.pid} are missing from some time on: they take at most a quarter of "
                "--max-size; raise it, or record fewer steps"
            )
            return
        directory = self._files.directory("allocations", process.pid)
        numbers = [part_number(path.name) for path in directory.glob("part-*.parquet")]
        names = [f"{process.directory.name}/{path.name}" for path in paths]
        self._size_bytes += write_parquet(
            directory / f"part-{max(numbers, default=-1) + 1:05d}.parquet",
            allocations_to_arrow(segments, process.contexts, offset_ns),
            {SEGMENTS_KEY: json.dumps(names).encode()},
        )


def allocations_to_arrow(segments: Sequence[Segment], contexts: ContextTable, offset_ns: int) -> pa.Table:
    """The records of these segments, which are of one process, as rows of the allocations schema."""
    local_context = np.concatenate([segment.context for segment in segments])
    context_ids, _ = contexts.ids_of(local_context)
    codes = np.concatenate([segment.signature for segment in segments])
    labels = pa.array([event.label for event in MemoryEvent])
    known = np.minimum(codes, len(labels) - 1).astype(np.int32)
    count = len(codes)
    columns = {
        "tid": pa.array(np.repeat([each.tid for each in segments], [len(each) for each in segments])),
        "ts_ns": pa.array(np.concatenate([segment.start_ns for segment in segments]) + offset_ns),
        "event": labels.take(pa.array(known)),
        "device": pa.repeat(pa.scalar(_CPU), count),
        "address": pa.array(np.concatenate([segment.self_ns for segment in segments])),
        "size_bytes": pa.array(np.concatenate([segment.dur_ns for segment in segments])),
        "context_id": pa.array(context_ids, mask=local_context == 0),
    }
    return pa.table([columns[name] for name in ALLOCATIONS.names], schema=ALLOCATIONS)


def keep_snapshot(process: LiveProcess, directory: Path) -> None:
    """Moves a process's snapshot of CUDA memory, where there is one, into this folder of the run. Raises OSError."""
    found = process.directory / SNAPSHOT_NAME
    if found.exists():
        directory.mkdir(parents=True, exist_ok=True)
        found.replace(directory / SNAPSHOT_NAME)


def _converted(path: Path) -> list[str]:
    """The live files that a part holds; names that would lead out of ``live/`` are left out."""
    try:
        names = json.loads((read_footer(path).metadata or {}).get(SEGMENTS_KEY, b"[]"))
    except (RunDamagedError, ValueError, RecursionError):
        return []  # the part is no worse for it: reading the run names the damage
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str) and _SEGMENT.fullmatch(name)]
