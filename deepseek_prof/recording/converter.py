"""Turns what the profiled processes write under ``live/`` into the Parquet files of the run, while they run and after.

A segment is deleted once its spans are in a part, and a part's footer names its segments, so that a conversion that is
cut short at any point neither loses nor repeats a span. Damage costs no more than what is damaged, and is written down.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from deepseek_prof.errors import OutputError, RunDamagedError
from deepseek_prof.recording.allocations import AllocationConversion, keep_snapshot
from deepseek_prof.recording.device_files import due_device_files
from deepseek_prof.recording.device_spans import read_device_spans
from deepseek_prof.recording.event_files import EventFiles, RecordingEvents, StepsOf
from deepseek_prof.recording.eviction import evict_oldest
from deepseek_prof.recording.live_format import SegmentState
from deepseek_prof.recording.live_process import (
    LiveProcess,
    dispose,
    find_processes,
    pid_turn,
    waiting_segments,
)
from deepseek_prof.recording.part_files import PartFiles
from deepseek_prof.recording.process_tables import ProcessTables
from deepseek_prof.recording.program_metrics import MetricSink, ProgramMetrics
from deepseek_prof.recording.run_events import RunEvents
from deepseek_prof.recording.run_record import RunRecord
from deepseek_prof.recording.segments import Segment, scan_segment
from deepseek_prof.recording.span_table import spans_to_arrow
from deepseek_prof.recording.stack_conversion import StackConversion

LOCK_NAME = "converter.lock"
PENDING_BYTES = 8 << 20
"""Closed segments of one process are converted once they amount to this."""
_MAX_PART_ROWS = 1 << 21
_DEVICE_FILES_AT_ONCE = 16
_MIN_PART_ROWS = 1 << 14
_ROW_BYTES = 24

Watch = Callable[[LiveProcess, int, int, bool], None]
"""Called with a process, its rank, what leads from its clock to the Unix epoch (ns), and whether it lives."""


class Converter:
    """Converts one run. Only one may work on a run at a time; a second raises OutputError.

    ``max_size_bytes`` bounds the raw spans: past it the oldest become sums by context. ``watch`` sees each process
    after each round, with the steps that it has finished; ``metrics`` takes the numbers that the program tells.
    """

    def __init__(
        self, run_dir: Path, *, max_size_bytes: int, watch: Watch | None = None, metrics: MetricSink | None = None
    ) -> None:
        self._watch = watch
        self._run_dir = run_dir
        self._live = run_dir / "live"
        self._max_size_bytes = max_size_bytes
        # A part is the least that can be removed: several must fit.
        self._part_rows = min(_MAX_PART_ROWS, max(_MIN_PART_ROWS, max_size_bytes // 8 // _ROW_BYTES))
        try:
            self._live.mkdir(mode=0o700, exist_ok=True)
            # Held until `finish` or our death, and not inherited by the programs that we start.
            self._lock = (self._live / LOCK_NAME).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{run_dir} is being recorded or converted by another process; wait for it.") from error
        except OSError as error:
            raise OutputError(f"{run_dir} cannot be written: {error}.") from error
        self._files = PartFiles(run_dir)
        self._processes: dict[str, LiveProcess] = {}
        events = RecordingEvents(run_dir)
        self._record = RunRecord(run_dir, events)
        self._tables = ProcessTables(self._files, self._record, self._processes)
        self._event_files = EventFiles(self._files)
        self._metrics = ProgramMetrics(run_dir, metrics)
        content = self._record.read()
        self._run_events = RunEvents(events, content)
        self._allocations = AllocationConversion(run_dir, self._files, max_size_bytes, self._record.warn)
        self._stacks = StackConversion(self._files, content, self._record.warn)
        self._spans_evicted = 0
        for damage in self._files.damaged:
            self._record.warn(damage)
        for name in self._files.converted_segments():
            (self._live / name).unlink(missing_ok=True)

    @property
    def spans_written(self) -> int:
        """Spans converted so far, those that were turned into sums included."""
        return self._files.rows + self._spans_evicted

    @property
    def bytes_written(self) -> int:
        """Bytes of all span files that are there now."""
        return self._files.size_bytes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong so far and is worth a line to the user, each once."""
        return self._record.warnings

    def poll(self) -> None:
        """Converts what has piled up. Call it a few times a second; never raises for a full disk or a damaged file."""
        self._convert_all(final=False)

    def finish(self) -> None:
        """Converts all that is left, completes ``run.json`` and removes ``live/``.

        A process that still runs is converted up to now, with a warning. If the disk is full, ``live/`` stays, and
        ``recover`` can complete the run later. The run's ``status`` is left to the caller.
        """
        complete = self._convert_all(final=True)
        processes = sorted(self._processes.values(), key=lambda process: process.order)
        complete = complete and self._convert_stacks(processes) and self._keep_snapshots(processes)
        self._stacks.write_summary(self._run_dir)
        self._record.complete(processes, self._files, self._record.clock_offset_ns() if processes else 0)
        if complete:
            shutil.rmtree(self._live)
        self._lock.close()

    def _convert_stacks(self, processes: Sequence[LiveProcess]) -> bool:
        """The samples of all processes, whose spans are all converted; whether that could be written."""
        try:
            for process in processes:
                offset = self._record.clock_offset_ns()
                steps = self._tables.boundaries_for(process).moved(offset)
                self._stacks.convert(process, pid_turn(process, processes), steps, offset)
        except OSError as error:
            self._record.warn(f"Python stacks could not be written: {error.strerror or error}")
            return False
        return True

    def _keep_snapshots(self, processes: Sequence[LiveProcess]) -> bool:
        """Moves the processes' snapshots of CUDA memory into the run; whether that could be done."""
        try:
            for process in processes:
                keep_snapshot(process, self._files.directory("snapshots", process.pid))
        except OSError as error:
            self._record.warn(f"a memory snapshot could not be kept: {error.strerror or error}")
            return False
        return True

    # --- one round over all processes

    def _convert_all(self, *, final: bool) -> bool:
        processes, foreign = find_processes(self._live, self._processes)
        for name in foreign:
            self._record.warn(f"live/{name} was not written by deepseek-prof and was left out")
        complete = True
        for process in processes:
            if process.finished:
                continue
            try:
                self._convert_process(process, final=final)
            except OSError as error:
                complete = False
                self._record.warn(
                    f"converting stopped: {error.strerror or error}. What is recorded waits in live/; "
                    "free some space, and it is converted on the next try or by `deepseek-prof recover`"
                )
        try:
            self._tables.settle_steps(processes)
            self._spans_evicted += evict_oldest(self._files, self._max_size_bytes)
        except OSError as error:
            self._record.warn(f"a run file could not be replaced: {error.strerror or error}")
        return complete

    def _convert_process(self, process: LiveProcess, *, final: bool) -> None:
        alive = process.is_alive()
        rank = process.description().get("rank")
        if isinstance(rank, int) and rank >= 0:
            self._files.set_rank(process.pid, rank)
        states = waiting_segments(process.segments(), alive=alive)
        paths = list(states)
        if alive:
            closed = [path for path, state in states.items() if state is not SegmentState.WRITING]
            if final:
                self._record.warn(
                    f"process {process.pid} was still running when the recording ended: its later spans are missing"
                )
            else:
                due = due_device_files(process.directory, final=False)
                paths = closed if due or sum(path.stat().st_size for path in closed) >= PENDING_BYTES else []
        self._convert_segments(process, {path: states[path] for path in paths}, alive=alive)
        self._convert_device_files(process, due_device_files(process.directory, final=final or not alive))
        self._allocations.convert(
            process,
            self._record.clock_offset_ns(),
            lambda: self._tables.refresh(process, alive=alive, complete=False),
            alive=alive,
            final=final,
        )
        self._tables.refresh(process, alive=alive, complete=final or not alive)
        self._convert_events(process, final=final or not alive)
        self._stacks.collect(process)
        rank_now, offset_ns = self._files.rank(process.pid), self._record.clock_offset_ns()
        self._metrics.convert(process.directory, rank_now, final=final or not alive)
        self._run_events.refresh(process, rank_now, offset_ns, alive=alive)
        if self._watch is not None:
            self._watch(process, rank_now, offset_ns, alive and not final)
        process.finished = not alive

    def _convert_events(self, process: LiveProcess, *, final: bool) -> None:
        boundaries = self._tables.boundaries_for(process)
        steps_of: StepsOf | None = None
        if len(boundaries.start_ns):
            in_epoch = boundaries.moved(self._record.clock_offset_ns())
            steps_of = lambda times: in_epoch.steps_of(times).to_pylist()  # noqa: E731  # a def would shadow its type
        self._event_files.convert(process.directory, process.pid, steps_of, final=final)

    def _convert_device_files(self, process: LiveProcess, files: Sequence[Path]) -> None:
        for first in range(0, len(files), _DEVICE_FILES_AT_ONCE):
            self._write_device_part(process, files[first : first + _DEVICE_FILES_AT_ONCE])

    def _write_device_part(self, process: LiveProcess, files: Sequence[Path]) -> None:
        boundaries = self._tables.boundaries_for(process)
        parts = sorted((part for part in self._files.parts if part.pid == process.pid), key=lambda part: part.number)
        contexts_before = len(process.contexts)
        try:
            found = read_device_spans(
                files,
                [self._files.path(part) for part in parts],
                process.contexts,
                process.graph_captures,
                boundaries,
                self._record.clock_offset_ns(),
                self._record.warn,
            )
        except RunDamagedError as error:
            self._record.warn(f"work on devices of process {process.pid} is missing: {error}")
            return
        if len(process.contexts) > contexts_before:
            self._tables.write_contexts(process)
        if found.spans.num_rows:
            names = [f"{process.directory.name}/{path.name}" for path in files]
            self._files.add(
                process.pid, found.spans, names, steps_known=len(boundaries.start_ns) > 0, launches=found.launches
            )
        for path in files:
            path.unlink(missing_ok=True)

    def _convert_segments(self, process: LiveProcess, states: dict[Path, SegmentState], *, alive: bool) -> None:
        batch: list[tuple[Path, Segment]] = []
        rows = 0
        for path, state in states.items():
            segment = scan_segment(path, being_written=alive and state is SegmentState.WRITING)
            self._note_segment(process, path, segment)
            if batch and rows + len(segment) > self._part_rows:
                self._write_part(process, batch, alive=alive)
                batch, rows = [], 0
            batch.append((path, segment))
            rows += len(segment)
        if batch:
            self._write_part(process, batch, alive=alive)

    def _note_segment(self, process: LiveProcess, path: Path, segment: Segment) -> None:
        process.dropped_spans[segment.tid] = max(segment.dropped, process.dropped_spans.get(segment.tid, 0))
        if segment.damage is not None:
            self._record.note_damage(process.pid, path.name, segment.damage, segment.lost)

    def _write_part(self, process: LiveProcess, batch: Sequence[tuple[Path, Segment]], *, alive: bool) -> None:
        # The log and the steps are read after the segments: both then hold all that the spans refer to.
        self._tables.refresh(process, alive=alive, complete=True)
        segments = [segment for _, segment in batch if len(segment)]
        if segments:
            boundaries = self._tables.boundaries_for(process)
            table, unknown = spans_to_arrow(
                segments, process.contexts, process.signatures, boundaries, self._record.clock_offset_ns()
            )
            if unknown:
                self._record.warn(f"spans of process {process.pid} name contexts that its contexts.log does not hold")
                self._tables.write_contexts(process)
            names = [f"{process.directory.name}/{path.name}" for path, _ in batch]
            self._files.add(process.pid, table, names, steps_known=len(boundaries.start_ns) > 0)
        for path, _ in batch:
            dispose(path, alive=alive)
        if self._files.size_bytes > self._max_size_bytes:
            self._spans_evicted += evict_oldest(self._files, self._max_size_bytes)
