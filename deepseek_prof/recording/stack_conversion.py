"""Python stacks of a run, from the files that py-spy and the processes leave under ``live/`` to ``samples/``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.live_process import LiveProcess
from deepseek_prof.recording.part_files import PartFiles, read_footer, write_parquet
from deepseek_prof.recording.samples import (
    STRETCHES,
    find_contexts,
    place_rows,
    read_places,
    rows_of,
    samples_to_arrow,
)
from deepseek_prof.recording.stack_clock import Mark, find_anchor, parse_marks, unsampled
from deepseek_prof.recording.stack_frames import FrameTexts
from deepseek_prof.recording.stack_names import ENDED_THREADS_NAME, MARKS_NAME, OWN_SAMPLES_NAME, REFUSED_NAME
from deepseek_prof.recording.stack_runs import Stretches, read_own_samples, read_py_spy
from deepseek_prof.recording.steps import StepBoundaries
from deepseek_prof.trace.run_file import update_run_file

PY_SPY, IN_PROCESS = "py-spy", "in-process"
_CLOCK_ERROR_KEY = b"deepseek_prof.clock_error_ns"
_PATIENCE_S = 10.0
"""Time that a py-spy whose parent is gone may take to write what it has."""
_SHORT_NS = 500_000_000
"""Less than this is not worth a warning where it cannot be dated."""


@dataclass
class _Outcome:
    samplers: set[str]
    reasons: set[str]
    processes: int = 0
    samples: int = 0
    clock_error_ns: int = 0


class StackConversion:
    """Converts the Python stacks of one run. ``content`` is its ``run.json``, ``warn`` takes a line for the user."""

    def __init__(self, files: PartFiles, content: dict[str, Any], warn: Callable[[str], None]) -> None:
        found = content.get("settings")
        settings: dict[str, Any] = found if isinstance(found, dict) else {}
        rate_hz = settings.get("stacks_rate_hz") if settings.get("python_stacks") else None
        self._rate_hz = rate_hz if isinstance(rate_hz, int) and rate_hz > 0 else 0
        self._period_ns = round(1e9 / self._rate_hz) if self._rate_hz else 0
        self._files = files
        self._warn = warn
        self._texts = FrameTexts(str(content.get("cwd") or ""))
        self._outcome = _Outcome(set(), set())

    def collect(self, process: LiveProcess, *, wait: bool = False) -> None:
        """Makes what ended py-spies have written small; with ``wait``, also that of those about to end.

        Raises OSError.
        """
        for note in sorted(process.directory.glob("stacks-*.note")) if self._rate_hz else ():
            py_spy, start_ns = _read_note(note)
            if wait:
                _wait_for(py_spy)
            if not _is_py_spy(py_spy):
                self._collect_one(process, note, start_ns)

    def convert(self, process: LiveProcess, number: int, steps: StepBoundaries, offset_ns: int) -> None:
        """Writes the samples of a process whose spans are converted; what is damaged costs a warning and its samples.

        Args:
            number: of the file to write: processes of one pid have different ones.
            steps: the steps that its samples belong to, on the Unix epoch.
            offset_ns: from CLOCK_MONOTONIC to the Unix epoch.

        Raises:
            OSError: a file cannot be written.
        """
        if not self._rate_hz:
            return
        self._outcome.processes += 1
        try:
            self._convert(process, number, steps, offset_ns)
        except RunDamagedError as error:
            self._warn(f"Python stacks of process {process.pid} are missing: {error}")

    def _convert(self, process: LiveProcess, number: int, steps: StepBoundaries, offset_ns: int) -> None:
        self.collect(process, wait=not process.is_alive())
        refused = process.directory / REFUSED_NAME
        if refused.exists():
            self._outcome.reasons.add(refused.read_text(errors="replace"))
        stretches = self._stretches(process)
        if not stretches.num_rows:
            return
        samples = rows_of(stretches, self._period_ns, offset_ns)
        parts = sorted((part for part in self._files.parts if part.pid == process.pid), key=lambda part: part.number)
        contexts = find_contexts(samples.tid, samples.ts_ns, [self._files.path(part) for part in parts])
        contexts_file = self._files.contexts_path(process.pid)
        places = read_places(contexts_file) if contexts_file.exists() else {}
        ts_ns, contexts = place_rows(samples, contexts, places)
        table = samples_to_arrow(samples, ts_ns, contexts, steps)
        write_parquet(self._files.directory("samples", process.pid) / f"part-{number:05d}.parquet", table)
        self._outcome.samples += table.num_rows

    def write_summary(self, run_dir: Path) -> None:
        """Writes ``stacks`` of ``run.json`` where they were asked for. Raises OSError."""
        if not self._rate_hz:
            return
        if self._outcome.reasons:
            self._warn(
                f"Python stacks were sampled by the program itself: {'; '.join(sorted(self._outcome.reasons))}. "
                "`deepseek-prof doctor` says how to allow py-spy"
            )
        elif self._outcome.processes and not self._outcome.samples:
            self._warn("no Python stack was sampled; what ends half a second after it imported torch may be too short")
        stacks = {
            "sampler": " and ".join(sorted(self._outcome.samplers, reverse=True)) or "none",
            "reason": "; ".join(sorted(self._outcome.reasons)),
            "rate_hz": self._rate_hz,
            "samples": self._outcome.samples,
            "clock_error_ns": self._outcome.clock_error_ns,
        }
        update_run_file(run_dir, stacks=stacks)

    # --- stretches of a process

    def _collect_one(self, process: LiveProcess, note: Path, start_ns: int) -> None:
        output = note.with_suffix(".json")
        if output.exists():
            try:
                stretches = self._dated(process, output, start_ns)
            except RunDamagedError as error:
                self._warn(str(error))
            else:
                if stretches is not None:
                    table, error_ns = stretches
                    metadata = {_CLOCK_ERROR_KEY: str(error_ns).encode()}
                    write_parquet(note.with_suffix(".parquet"), table, metadata)
        for path in (note, output):
            path.unlink(missing_ok=True)

    def _dated(self, process: LiveProcess, output: Path, start_ns: int) -> tuple[pa.Table, int] | None:
        marks, threads = _read_marks(process.directory)
        found = read_py_spy(output, self._texts, threads)
        if found.damage is not None:
            self._warn(f"Python stacks of process {process.pid} are damaged: {output.name} is {found.damage}")
        anchor = find_anchor(found.marks, marks, start_ns, self._period_ns)
        if anchor is None:
            if max(found.end_ns, default=0) - min(found.start_ns, default=0) > _SHORT_NS:
                self._warn(f"Python stacks of process {process.pid} are left out: {output.name} could not be dated")
            return None
        table = _table(found, anchor.offset_ns)
        seen = {*found.start_ns, *found.end_ns, *(ts_ns for ts_ns, _ in found.marks)}
        for start, end in unsampled(sorted(ts_ns + anchor.offset_ns for ts_ns in seen), marks):
            self._warn(
                f"{(end - start) / 1e9:.1f} s of the Python stacks of process {process.pid} are missing: py-spy could "
                "not read it"
            )
            table = _without(table, start, end)
        return table, anchor.error_ns

    def _stretches(self, process: LiveProcess) -> pa.Table:
        """All of a process, each moment once, nothing of threads that had ended."""
        tables = []
        for path in sorted(process.directory.glob("stacks-*.parquet")):
            error_ns = int((read_footer(path).metadata or {}).get(_CLOCK_ERROR_KEY, b"0"))
            self._outcome.clock_error_ns = max(self._outcome.clock_error_ns, error_ns)
            tables.append(_read_stretches(path))
            self._outcome.samplers.add(PY_SPY)
        own = process.directory / OWN_SAMPLES_NAME
        if own.exists():
            found = read_own_samples(own, self._texts)
            if found.damage is not None:
                self._warn(f"Python stacks of process {process.pid} are damaged: {own.name}: {found.damage}")
            tables.append(_table(found, 0))
            self._outcome.samplers.add(IN_PROCESS)
        covered_ns = 0
        kept = []
        for table in tables:  # where one took over from another, both saw the same for a while
            kept.append(_cut(table, covered_ns, process))
            covered_ns = max(covered_ns, pc.max(table["end_ns"]).as_py() or 0)
        return pa.concat_tables(kept) if kept else STRETCHES.empty_table()


def _cut(table: pa.Table, not_before_ns: int, process: LiveProcess) -> pa.Table:
    last_ns = process.description().get("ended_ns")
    end = np.minimum(table["end_ns"].to_numpy(), last_ns if isinstance(last_ns, int) else np.iinfo(np.int64).max)
    tid = table["tid"].to_numpy()
    for thread, seen_ns in _ended_threads(process.directory):
        end = np.where(tid == thread, np.minimum(end, seen_ns), end)
    start = np.maximum(table["start_ns"].to_numpy(), not_before_ns)
    columns = [table["tid"], pa.array(start), pa.array(end), table["stack"]]
    return pa.table(columns, schema=STRETCHES).filter(pa.array(start < end))


def _without(table: pa.Table, start_ns: int, end_ns: int) -> pa.Table:
    """The stretches but for a time in which none begins or ends."""
    before = pc.min_element_wise(table["end_ns"], pa.scalar(start_ns))
    after = pc.max_element_wise(table["start_ns"], pa.scalar(end_ns))
    halves = [table.set_column(2, STRETCHES.field(2), before), table.set_column(1, STRETCHES.field(1), after)]
    whole = pa.concat_tables(halves)
    return whole.filter(pc.less(whole["start_ns"], whole["end_ns"]))


def _ended_threads(directory: Path) -> Iterator[tuple[int, int]]:
    for line in _lines(directory / ENDED_THREADS_NAME):
        words = line.split()
        if len(words) == 2 and all(word.isascii() and word.isdecimal() for word in words):
            yield int(words[0]), int(words[1])


def _table(found: Stretches, offset_ns: int) -> pa.Table:
    columns = [np.asarray(column) for column in (found.tid, found.start_ns, found.end_ns)]
    stack = pa.DictionaryArray.from_arrays(pa.array(np.asarray(found.stack)), pa.array(list(found.stacks), pa.string()))
    return pa.table([columns[0], columns[1] + offset_ns, columns[2] + offset_ns, stack], schema=STRETCHES)


def _read_stretches(path: Path) -> pa.Table:
    try:
        # A stack is a long text that stands there many times.
        return pq.ParquetFile(path, read_dictionary=["stack"]).read().cast(STRETCHES)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunDamagedError(f"{path} is damaged: {error}.") from error


def _read_marks(directory: Path) -> tuple[list[Mark], dict[int, int]]:
    return parse_marks(_lines(directory / MARKS_NAME))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _read_note(note: Path) -> tuple[int, int]:
    """The pid of a py-spy, and CLOCK_MONOTONIC before its start."""
    try:
        content = json.loads(note.read_text())
        return int(content["pid"]), int(content["start_ns"])
    except (ValueError, KeyError, TypeError):
        return -1, 0  # cut off: its output can still be dated


def _wait_for(pid: int) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while _is_py_spy(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)


def _is_py_spy(pid: int) -> bool:
    """Whether it still runs; a later process may have its number."""
    try:
        process = psutil.Process(pid)
        return bool(process.name() == "py-spy" and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, ValueError):
        return False
