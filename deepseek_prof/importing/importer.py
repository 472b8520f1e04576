"""Imports trace files into one run: reads each once, nests its events, writes spans, contexts and ``run.json``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepseek_prof.errors import TraceFileError, UsageError
from deepseek_prof.importing.byte_source import ByteSource
from deepseek_prof.importing.device_spans import device_work
from deepseek_prof.importing.event_array import EventArray
from deepseek_prof.importing.event_columns import Columns, Int64s
from deepseek_prof.importing.event_table import EventTable
from deepseek_prof.importing.host_spans import HostSpans, TraceProcess
from deepseek_prof.importing.identities import process_number, rank_of, thread_number
from deepseek_prof.importing.own_trace import OWN_KEY, OwnTrace
from deepseek_prof.importing.run_writer import RunWriter
from deepseek_prof.importing.step_frames import no_steps
from deepseek_prof.importing.trace_event import TraceEvent, parse_event, parse_events, parse_times_ns
from deepseek_prof.importing.trace_events import TraceEvents

RECORDER = "torch.profiler"
"""What ``run.json`` names as the recorder of imported processes."""
_MAX_THREAD_NAMES = 1000
_END_OF_TIME_NS = 2**63 - 1

Progress = Callable[[str], None]
"""Takes a line on how far the import is; called often."""


@dataclass(frozen=True)
class ImportedFile:
    """What was found in one trace file. ``events`` counts everything in its event array."""

    path: Path
    rank: int
    events: int
    spans: int
    device_spans: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ImportResult:
    """A run made of trace files."""

    run_dir: Path
    files: tuple[ImportedFile, ...]
    steps: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of all files."""
        return tuple(warning for file in self.files for warning in file.warnings)

    @property
    def spans(self) -> int:
        """Those of all files, device spans included."""
        return sum(file.spans for file in self.files)

    @property
    def device_spans(self) -> int:
        """Kernels, copies and the like of all files."""
        return sum(file.device_spans for file in self.files)

    @property
    def events(self) -> int:
        """Everything in the files' event arrays."""
        return sum(file.events for file in self.files)


def import_traces(
    traces: Sequence[Path], run_dir: Path, *, ranks: Sequence[int] = (), progress: Progress = lambda _: None
) -> ImportResult:
    """Make the run ``run_dir`` of trace files.

    Args:
        traces: files of one program, each one rank, or one window of steps of a rank.
        run_dir: the run's directory; must not exist, or be empty.
        ranks: the rank of each file; empty: what the files or their names tell.
        progress: told how far the import is.

    Raises:
        UsageError: not as many ranks as files.
        TraceFileError: a file is no trace, holds no events, or cannot be read.
        OutputError: the run cannot be written.
    """
    if ranks and len(ranks) != len(traces):
        raise UsageError(f"Give a rank for each trace: there are {len(traces)} traces and {len(ranks)} ranks.")
    with RunWriter(run_dir) as writer:
        files: list[ImportedFile] = []
        processes: list[dict[str, Any]] = []
        steps = 0
        for index, path in enumerate(traces):
            source = ByteSource(path)
            array = EventArray(source)
            if OWN_KEY in array.metadata:
                if ranks:
                    raise UsageError(f"{path} was exported by deepseek-prof and tells its ranks: leave --rank out.")
                own = OwnTrace(array, path)
                own.read(writer, progress)
                processes += own.processes()
                steps += own.step_count
                files.append(_own_file(path, own, array))
                continue
            table = _read(source, array, progress)
            rank, warnings = ranks[index] if ranks else rank_of(array.metadata, path), _warnings(path, table, array)
            if rank is None:
                rank = min(set(range(index + 1)) - {file.rank for file in files})
                if len(traces) > 1:
                    warnings.append(f"{path.name} does not tell its rank: taken for rank {rank} (see --rank)")
            progress(f"{path.name}: nesting {table.events:,} events")
            events, moved = _complete(table, array.metadata, path)
            warnings += moved
            host = HostSpans(events)
            written = writer.spans
            for process, spans in host.tables():
                writer.add_spans(rank, process.pid, spans)
                progress(f"{path.name}: nesting, {writer.spans - written:,} spans written")
            device_count = 0
            for work in device_work(events, host.processes, host.main):
                device_count += work.spans.num_rows
                writer.add_spans(rank, work.process.pid, work.spans)
                if work.launches.num_rows:
                    writer.add_launches(rank, work.process.pid, work.launches)
            for process in host.processes:
                own_steps = process.steps if process.own_steps else no_steps()
                steps += len(own_steps)
                contexts = process.contexts.table.to_arrow()
                writer.close_process(rank, process.pid, contexts, own_steps.to_arrow(events.base_ns))
                processes.append(_description(process, rank, path, events, table, array.metadata, host.main is process))
            files.append(ImportedFile(path, rank, table.events, writer.spans - written, device_count, tuple(warnings)))
        writer.finish(_run_content(traces, files, _merged(processes)))
    return ImportResult(run_dir, tuple(files), steps)


def _own_file(path: Path, own: OwnTrace, array: EventArray) -> ImportedFile:
    warnings = _read_warnings(path, own.events, own.malformed, array)
    return ImportedFile(path, min(own.spans)[0], own.events, sum(own.spans.values()), own.device_spans, tuple(warnings))


def _read(source: ByteSource, array: EventArray, progress: Progress) -> EventTable:
    table = EventTable()

    def parse(text: bytes) -> tuple[list[TraceEvent], bytes] | None:
        events = parse_events(text)
        return None if events is None else (events, text)

    def parse_elements(texts: list[bytes]) -> tuple[list[TraceEvent], bytes]:
        events, valid = [], []
        for text in texts:
            event = parse_event(text)
            if event is None:
                table.malformed += 1
            else:
                events.append(event)
                valid.append(text)
        return events, b"[" + b",".join(valid) + b"]"

    for events, text in array.batches(parse, parse_elements):
        table.add(events, partial(parse_times_ns, text))
        done = min(1.0, source.read_bytes / max(1, source.size_bytes))  # a pipe has no size
        progress(f"{source.path.name}: {done * 100:.0f} % read, {table.events:,} events")
    return table


def _warnings(path: Path, table: EventTable, array: EventArray) -> list[str]:
    unpaired = table.close()
    found = _read_warnings(path, table.events, table.malformed, array)
    if unpaired:
        found.append(f"{path.name}: {unpaired:,} begin or end events have no counterpart and were left out")
    return found


def _read_warnings(path: Path, events: int, malformed: int, array: EventArray) -> list[str]:
    found = []
    if array.cut_off is not None:
        found.append(f"{path.name} is cut off: {array.cut_off}. What is whole was kept: {events:,} events")
    if malformed:
        found.append(f"{path.name}: {malformed:,} events are not as the format wants them and were left out")
    return found


def _complete(table: EventTable, metadata: dict[str, Any], path: Path) -> tuple[TraceEvents, list[str]]:
    """The table's columns, and what to warn of."""
    if not table.host.rows and not table.device.rows:
        raise TraceFileError(
            f"{path} holds no events with a duration: {table.events:,} events were read. "
            "Is it a trace of torch.profiler, or an array of trace events?"
        )
    host, device = table.host.finish(), table.device.finish()
    warnings = []
    base_ns = metadata.get("baseTimeNanoseconds", 0)
    if (
        not isinstance(base_ns, int)
        or isinstance(base_ns, bool)
        or base_ns < 0
        or _latest_ns(host, device) + base_ns > _END_OF_TIME_NS
    ):
        warnings.append(f"{path.name} has no usable baseTimeNanoseconds: its times are not those of the clock")
        base_ns = 0
    links = table.links.finish()
    launches = table.launches.finish()
    return TraceEvents(
        host, links, launches, device, table.flows.finish(), table.labels, table.threads, base_ns, table.signatures
    ), warnings


def _latest_ns(*tables: Columns) -> int:
    return max((int((each["start_ns"] + each["dur_ns"]).max()) for each in tables if len(each["start_ns"])), default=0)


def _description(
    process: TraceProcess,
    rank: int,
    path: Path,
    events: TraceEvents,
    table: EventTable,
    metadata: dict[str, Any],
    is_main: bool,
) -> dict[str, Any]:
    """The process's entry in ``run.json``."""
    start_ns, end_ns = _extent(events.host if len(events.host["start_ns"]) else events.device, events.base_ns)
    info = metadata.get("distributedInfo")
    world_size = info.get("world_size") if isinstance(info, dict) else None
    names = {
        str(thread_number(tid)): name
        for (pid, tid), name in table.thread_names.items()
        if process_number(pid) == process.pid
    }
    devices = metadata.get("deviceProperties")
    device_names = [each.get("name") for each in devices if isinstance(each, dict)] if isinstance(devices, list) else []
    return {
        "pid": process.pid,
        "rank": rank,
        "world_size": world_size if isinstance(world_size, int) else None,
        "start_ns": start_ns,
        "ended_ns": end_ns,
        "is_main": is_main,
        "recorder": RECORDER,
        "recorder_reason": f"imported from {path.name}",
        "events": process.events,
        "steps": len(process.steps) if process.own_steps else 0,
        "devices": [name for name in device_names if isinstance(name, str)],
        "threads": dict(list(names.items())[:_MAX_THREAD_NAMES]),
        "dropped_spans": 0,
        "warnings": [],
    }


def _merged(processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for a process of which several files hold windows."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for each in processes:
        known = found.setdefault((each["rank"], each["pid"]), each)
        if known is not each:
            known["start_ns"] = min(known["start_ns"], each["start_ns"])
            known["ended_ns"] = max(known["ended_ns"], each["ended_ns"])
            known["events"] += each["events"]
            known["steps"] += each["steps"]
    return list(found.values())


def _extent(columns: Columns, base_ns: int) -> tuple[int, int]:
    start_ns: Int64s = columns["start_ns"]
    return int(start_ns.min()) + base_ns, int(np.max(start_ns + columns["dur_ns"])) + base_ns


def _run_content(
    traces: Sequence[Path], files: Sequence[ImportedFile], processes: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "script": traces[0].name if len(traces) == 1 else f"{traces[0].name} and {len(traces) - 1} more",
        "command": ["deepseek-prof", "import", *(str(path) for path in traces)],
        "python": None,
        "created_ns": min(each["start_ns"] for each in processes),
        "ended_ns": max(each["ended_ns"] for each in processes),
        "processes": processes,
        "warnings": [warning for file in files for warning in file.warnings],
        "imported": [
            {
                "path": str(file.path.resolve()),
                "rank": file.rank,
                "events": file.events,
                "spans": file.spans,
                "device_spans": file.device_spans,
            }
            for file in files
        ],
    }
