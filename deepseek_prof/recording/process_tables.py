"""The contexts and steps of a run's processes: read as they grow, written as files, and given to the spans."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from deepseek_prof.model import Kind
from deepseek_prof.recording.context_table import STEP_CONTEXT_NAME, merge_contexts
from deepseek_prof.recording.live_process import LiveProcess, steps_file_name
from deepseek_prof.recording.part_files import PartFiles, read_table, write_parquet
from deepseek_prof.recording.run_record import RunRecord
from deepseek_prof.recording.steps import StepBoundaries, steps_to_arrow
from deepseek_prof.trace.schema import CONTEXTS

_STEPS_PERIOD_S = 2.0
_STEPS_SHARE = 0.01
"""Of our time that may go into writing the steps of a process that runs on."""


class ProcessTables:
    """Of all ``processes``, which may become more. Its methods raise OSError when a file cannot be written."""

    def __init__(self, files: PartFiles, record: RunRecord, processes: Mapping[str, LiveProcess]) -> None:
        self._files = files
        self._record = record
        self._processes = processes

    def refresh(self, process: LiveProcess, *, alive: bool, complete: bool) -> None:
        """Reads and writes what is new. Steps, whose file is written anew each time, wait, unless ``complete``."""
        new_contexts = process.refresh_contexts()
        if process.log_damage is not None:
            self._record.warn(f"contexts.log of process {process.pid} is damaged: {process.log_damage}")
        process.steps.refresh(being_written=alive)
        for name, damage in process.steps.damage.items():
            self._record.note_damage(process.pid, name, damage, 0)
        steps = process.steps.boundaries
        first_steps = len(steps.start_ns) > 0 and process.contexts.add_special(STEP_CONTEXT_NAME, Kind.STEP)
        if new_contexts or first_steps:
            self.write_contexts(process)
        if len(steps.start_ns) > process.steps_written and (complete or time.monotonic() >= process.steps_due_s):
            start_s = time.monotonic()
            name = steps_file_name(process, self._processes.values())
            path = self._files.directory("spans", process.pid) / name
            write_parquet(path, steps_to_arrow(steps, self._record.clock_offset_ns()))
            process.steps_written = len(steps.start_ns)
            end_s = time.monotonic()
            process.steps_due_s = end_s + max(_STEPS_PERIOD_S, (end_s - start_s) / _STEPS_SHARE)

    def write_contexts(self, process: LiveProcess) -> None:
        """Replaces the contexts of the process's pid; those of another process with the same pid stay."""
        path = self._files.contexts_path(process.pid)
        shared = sum(other.pid == process.pid for other in self._processes.values()) > 1
        if process.earlier_contexts is None or shared:
            process.earlier_contexts = read_table(path) if path.exists() else CONTEXTS.empty_table()
        write_parquet(path, merge_contexts(process.contexts.to_arrow(), process.earlier_contexts))

    def boundaries_for(self, process: LiveProcess) -> StepBoundaries:
        """The process's own steps, or those of the first process of its rank that has any (for data workers)."""
        if len(process.steps.boundaries.start_ns):
            return process.steps.boundaries
        rank_directory = self._files.directory("spans", process.pid).parent
        for other in sorted(self._processes.values(), key=lambda candidate: candidate.order):
            if self._files.directory("spans", other.pid).parent != rank_directory:
                continue
            other.steps.refresh(being_written=other.is_alive())
            if len(other.steps.boundaries.start_ns):
                return other.steps.boundaries
        return process.steps.boundaries

    def settle_steps(self, processes: Sequence[LiveProcess]) -> None:
        """Gives steps to parts that were written before the first step of their rank had ended."""
        unsettled = [part for part in self._files.parts if not part.steps_known]
        if not unsettled:
            return
        by_pid = {process.pid: process for process in processes}
        for part in unsettled:
            process = by_pid.get(part.pid)
            if process is None:
                continue
            boundaries = self.boundaries_for(process)
            if len(boundaries.start_ns) == 0:
                continue
            table = read_table(self._files.path(part))
            steps = boundaries.moved(self._record.clock_offset_ns()).steps_of(table["start_ns"].to_numpy())
            self._files.rewrite(part, table.set_column(1, table.schema.field("step"), steps))
