"""Chrome traces that ``deepseek-prof export chrome`` wrote: spans come with their contexts, nothing has to be inferred.

docs/exporting.md describes what such a file holds under :data:`OWN_KEY` and in the arguments of its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.errors import TraceFileError
from deepseek_prof.importing.event_array import EventArray
from deepseek_prof.importing.run_writer import RunWriter
from deepseek_prof.importing.trace_events import span_table
from deepseek_prof.model import Kind
from deepseek_prof.trace.schema import CONTEXTS, SPANS

OWN_KEY = "deepseekProf"
FORMAT_VERSION = 1
"""Of what stands under :data:`OWN_KEY`."""
_LATEST_US = 4e15
"""Above this, the year 2096 in microseconds since 1970, start and length together do not fit into 64 bits."""

Process: TypeAlias = tuple[int, int]
"""Rank and process id."""
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Rank = Annotated[int, msgspec.Meta(ge=0, lt=10**9)]
_Pid = Annotated[int, msgspec.Meta(ge=0, lt=10**17)]


class _Context(msgspec.Struct, array_like=True, frozen=True):
    rank: _Rank
    pid: _Pid
    context_id: _Int64
    parent_id: _Int64 | None
    depth: _Int32
    kind: str
    name: str
    type: str
    layer: str | None
    phase: str


class _Track(msgspec.Struct, array_like=True, frozen=True):
    shown_pid: int
    shown_tid: int
    rank: _Rank
    pid: _Pid
    tid: _Int64
    device: str | None
    stream: _Int32 | None


class _Described(msgspec.Struct, frozen=True):
    version: int
    tracks: list[_Track]
    contexts: list[_Context]
    processes: list[dict[str, Any]]


class _Arguments(msgspec.Struct, gc=False):
    context: int = -1
    self_ns: _Int64 = 0
    step: _Int32 | None = None
    bytes: _Int64 | None = None
    flops: _Int64 | None = None
    shapes: str | None = None


_NO_ARGUMENTS = _Arguments()


class _Event(msgspec.Struct, gc=False):
    ph: str = ""
    pid: int = -1
    tid: int = -1
    ts: float = -1.0
    dur: float = -1.0
    args: _Arguments = msgspec.field(default_factory=lambda: _NO_ARGUMENTS)


_EVENTS = msgspec.json.Decoder(list[_Event])
_EVENT = msgspec.json.Decoder(_Event)


class OwnTrace:
    """One such file, from :meth:`read` on with the counts of what was in it.

    Raises:
        TraceFileError: what the file says of itself is not as it should be, or of a newer version.
    """

    def __init__(self, array: EventArray, path: Path) -> None:
        self._array = array
        self._path = path
        try:
            described = msgspec.convert(array.metadata[OWN_KEY], _Described)
            self._base_ns = msgspec.convert(array.metadata.get("baseTimeNanoseconds"), _Int64)
        except msgspec.ValidationError as error:
            raise TraceFileError(f"{path} was exported by deepseek-prof and changed since: {error}.") from error
        if described.version > FORMAT_VERSION:
            raise TraceFileError(f"{path} was exported by a newer deepseek-prof. Update deepseek-prof to import it.")
        self._described = described
        self._columns = _Columns(described)
        self.events = self.malformed = self.device_spans = 0
        self.steps: dict[Process, list[pa.Table]] = {}
        self.extents: dict[Process, tuple[int, int]] = {}
        """First start and last end of the spans of each process that has any."""
        self.spans: dict[Process, int] = {}

    def read(self, writer: RunWriter, progress: Callable[[str], None]) -> None:
        """Move all spans into the run. Raises TraceFileError, and OSError where the run cannot be written."""
        for events in self._array.batches(_parse, self._parse_elements):
            self.events += len(events)
            for process, table in self._tables(events):
                writer.add_spans(*process, table)
            progress(f"{self._path.name}: {self.events:,} events")
        if not self.spans:
            raise TraceFileError(f"{self._path} holds no whole span: {self.events:,} events were read.")
        for rank, pid in self.spans:
            steps = self.steps.get((rank, pid), [])
            mine = [each for each in self._described.contexts if (each.rank, each.pid) == (rank, pid)]
            contexts = pa.Table.from_pylist([msgspec.structs.asdict(each) for each in mine], schema=CONTEXTS)
            writer.close_process(rank, pid, contexts, pa.concat_tables(steps) if steps else SPANS.empty_table())

    @property
    def step_count(self) -> int:
        """Steps of all processes."""
        return sum(table.num_rows for tables in self.steps.values() for table in tables)

    def processes(self) -> list[dict[str, Any]]:
        """The entries of ``run.json``: as they were, with what this file holds of each process."""
        known = {(each.get("rank") or 0, each.get("pid")): each for each in self._described.processes}
        return [
            {
                "is_main": False,
                **known.get((rank, pid), {}),
                "rank": rank,
                "pid": pid,
                "start_ns": self.extents[rank, pid][0],
                "ended_ns": self.extents[rank, pid][1],
                "recorder_reason": f"imported from {self._path.name}",
                "events": count,
                "steps": sum(table.num_rows for table in self.steps.get((rank, pid), [])),
            }
            for (rank, pid), count in self.spans.items()
        ]

    def _parse_elements(self, texts: list[bytes]) -> list[_Event]:
        found = []
        for text in texts:
            try:
                found.append(_EVENT.decode(text))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.malformed += 1
        return found

    def _tables(self, events: list[_Event]) -> Iterator[tuple[Process, pa.Table]]:
        """The spans of each process; those of steps are kept in :attr:`steps`."""
        complete = [event for event in events if event.ph == "X"]
        columns = self._columns
        context = np.array([event.args.context for event in complete], dtype=np.int64)
        track = np.array([columns.track_at.get((event.pid, event.tid), -1) for event in complete], dtype=np.int64)
        start_us = np.array([event.ts for event in complete], dtype=np.float64)
        dur_us = np.array([event.dur for event in complete], dtype=np.float64)
        good = (track >= 0) & (context >= 0) & (context < len(columns.context_id))
        good &= (start_us >= 0) & (start_us < _LATEST_US) & (dur_us >= 0) & (dur_us < _LATEST_US)
        good[good] = columns.process_of_track[track[good]] == columns.process_of_context[context[good]]
        self.malformed += int(np.count_nonzero(~good))
        for number, process in enumerate(columns.processes):
            rows = np.flatnonzero(good)
            rows = rows[columns.process_of_track[track[rows]] == number]
            if len(rows) == 0:
                continue
            start_ns = np.rint(start_us[rows] * 1000).astype(np.int64) + self._base_ns
            dur_ns = np.rint(dur_us[rows] * 1000).astype(np.int64)
            arguments = [complete[row].args for row in rows.tolist()]
            table = columns.table(track[rows], context[rows], start_ns, dur_ns, arguments)
            self._count(process, table, start_ns, dur_ns)
            is_step = columns.is_step[context[rows]]
            if is_step.any():
                self.steps.setdefault(process, []).append(table.filter(pa.array(is_step)))
                table = table.filter(pa.array(~is_step))
            yield process, table

    def _count(
        self, process: Process, table: pa.Table, start_ns: npt.NDArray[np.int64], dur_ns: npt.NDArray[np.int64]
    ) -> None:
        first_ns, end_ns = int(start_ns.min()), int((start_ns + dur_ns).max())
        known_ns = self.extents.get(process, (first_ns, end_ns))
        self.extents[process] = min(first_ns, known_ns[0]), max(end_ns, known_ns[1])
        self.spans[process] = self.spans.get(process, 0) + table.num_rows
        self.device_spans += table.num_rows - table["device"].null_count


def _parse(text: bytes) -> list[_Event] | None:
    try:
        return _EVENTS.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class _Columns:
    """What the numbers of tracks and contexts stand for, as arrays."""

    def __init__(self, described: _Described) -> None:
        tracks, contexts = described.tracks, described.contexts
        self.processes: list[Process] = sorted({(each.rank, each.pid) for each in tracks})
        numbers = {process: number for number, process in enumerate(self.processes)}
        self.track_at = {(each.shown_pid, each.shown_tid): number for number, each in enumerate(tracks)}
        self.process_of_track = np.array([numbers[each.rank, each.pid] for each in tracks], dtype=np.int64)
        self.process_of_context = np.array(
            [numbers.get((each.rank, each.pid), -1) for each in contexts], dtype=np.int64
        )
        self.context_id = np.array([each.context_id for each in contexts], dtype=np.int64)
        self.is_step = np.array([each.kind == Kind.STEP.label for each in contexts], dtype=bool)
        self._tid = np.array([each.tid for each in tracks], dtype=np.int64)
        self._device = pa.array([each.device for each in tracks], pa.string())
        self._stream = pa.array([each.stream for each in tracks], pa.int32())

    def table(
        self,
        track: npt.NDArray[np.int64],
        context: npt.NDArray[np.int64],
        start_ns: npt.NDArray[np.int64],
        dur_ns: npt.NDArray[np.int64],
        arguments: list[_Arguments],
    ) -> pa.Table:
        """Spans as the columns of :data:`deepseek_prof.trace.schema.SPANS`."""
        columns = {
            "tid": pa.array(self._tid[track]),
            "step": pa.array([each.step for each in arguments], pa.int32()),
            "start_ns": pa.array(start_ns),
            "dur_ns": pa.array(dur_ns),
            "self_ns": pa.array([each.self_ns for each in arguments], pa.int64()),
            "context_id": pa.array(self.context_id[context]),
            "device": self._device.take(pa.array(track)),
            "stream": self._stream.take(pa.array(track)),
            "bytes": pa.array([each.bytes for each in arguments], pa.int64()),
            "flops": pa.array([each.flops for each in arguments], pa.int64()),
            "shapes": pa.array([each.shapes for each in arguments], pa.string()),
        }
        return span_table(columns, len(track))
