"""Perfetto's own protobuf traces, by the message classes of its package ``perfetto``: an optional dependency.

Source of the format: https://perfetto.dev/docs/reference/synthetic-track-event. All names are interned in the first
packet; then every span has a packet where it begins and one where it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from deepseek_prof.exporters.protobuf import varint

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.exporters.counter_tracks import CounterTrack
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.exporters.span_stream import SpanStream
    from deepseek_prof.exporters.tracks import Track
    from deepseek_prof.trace.run import Run

_BATCH_ROWS = 8_192
_SEQUENCE = 1
_PACKET = b"\x0a"
"""Field 1 of ``Trace``: each packet stands behind it and its length, so that traces are written as they come."""
_ANNOTATED = ("layer", "phase", "type")
_RARE = ("bytes", "flops", "shapes")
_SpanEnds = dict[tuple[int, int, int], list[int]]
"""Arrows by the track, start and context of the span at their end."""


class PerfettoExporter:
    """Threads, streams and counters as tracks, spans as slices with arrows from launch to kernel and to backward."""

    summary = "Perfetto's protobuf, for ui.perfetto.dev and trace_processor; needs deepseek-prof[perfetto]"
    suffix = ".pftrace"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the selected spans. Where two of a track overlap, the inner one ends with the outer one.

        Raises:
            UsageError: nothing is selected, or the package ``perfetto`` is missing.
            RunDamagedError: a file of the run is damaged.
        """
        protos = _protos()
        from deepseek_prof.exporters.arrows import Arrows
        from deepseek_prof.exporters.counter_tracks import counter_tracks
        from deepseek_prof.exporters.span_stream import SpanStream

        stream = SpanStream(run, selection)
        arrows = Arrows(run, stream)
        packets = _Packets(protos, stream)
        file.write(b"".join(packets.head()))
        for window in stream.windows:
            leaving, arriving = _by_span(arrows.leaving(window)), _by_span(arrows.arriving(window))
            batches = stream.table(window).to_batches(_BATCH_ROWS)
            file.writelines(b"".join(packets.of_spans(batch, leaving, arriving)) for batch in batches)
            file.write(b"".join(packets.ends_before(window.end_ns)))
        file.writelines(packets.of_counters(counter_tracks(run, stream)))


def _protos() -> Any:
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        from deepseek_prof.errors import UsageError

        raise UsageError(
            f"The format perfetto needs a package that is not here ({error}): pip install 'deepseek-prof[perfetto]'. "
            "The format chrome opens in Perfetto too, without it."
        ) from error
    return perfetto_trace_pb2


def _by_span(ends: pa.Table) -> _SpanEnds:
    found: _SpanEnds = {}
    columns = (ends[name].to_pylist() for name in ("arrow", "track", "start_ns", "context"))
    for arrow, *place in zip(*columns, strict=True):
        found.setdefault((place[0], place[1], place[2]), []).append(arrow)
    return found


class _Interned(dict[str, int]):
    """Numbers of texts, from 1 on."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self) + 1
        return number


class _Begin(NamedTuple):
    """A packet that begins slices of one context, and the parts of it that differ from span to span."""

    packet: Any
    event: Any
    step: Any
    """The first annotation."""


class _Packets:
    """Makes packets. One message for each context is kept and only told what differs: time, track, step.

    Nothing is added to kept messages: what is taken out of one again keeps its memory as long as the message lives.
    """

    def __init__(self, protos: Any, stream: SpanStream) -> None:
        self._protos = protos
        self._stream = stream
        self._names, self._categories, self._keys, self._values = (_Interned() for _ in range(4))
        self._begins = [self._begin(row) for row in stream.contexts.to_pylist()]
        self._uuids = [len(stream.tracks) + number for number in range(1, len(stream.tracks) + 1)]
        self._process_uuids: dict[int, int] = {}
        self._ends = [self._end(uuid) for uuid in self._uuids]
        self._open_ends_ns: list[list[int]] = [[] for _ in stream.tracks]
        """Of each track, the outermost first."""

    def head(self) -> Iterator[bytes]:
        """The packets before all spans: clock, names, tracks."""
        protos = self._protos
        clock = protos.TracePacket(trusted_packet_sequence_id=_SEQUENCE)
        for clock_id in (protos.BUILTIN_CLOCK_BOOTTIME, protos.BUILTIN_CLOCK_REALTIME):
            # Spans are dated by the Unix epoch: the trace's clock is the wall clock.
            clock.clock_snapshot.clocks.add(clock_id=clock_id, timestamp=self._stream.start_ns)
        yield _framed(clock)
        names = protos.TracePacket(
            trusted_packet_sequence_id=_SEQUENCE,
            sequence_flags=protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED,
        )
        for key in _RARE:
            self._keys[key]
        data = names.interned_data
        for texts, kept in (
            (self._names, data.event_names),
            (self._categories, data.event_categories),
            (self._keys, data.debug_annotation_names),
        ):
            for text, number in texts.items():
                kept.add(iid=number, name=text)
        for text, number in self._values.items():
            data.debug_annotation_string_values.add(iid=number, str=text.encode())
        yield _framed(names)
        yield from self._descriptors()

    def _descriptors(self) -> Iterator[bytes]:
        for number, track in enumerate(self._stream.tracks):
            if track.shown_pid not in self._process_uuids:
                uuid = self._process_uuids[track.shown_pid] = number + 1
                packet = self._protos.TracePacket(trusted_packet_sequence_id=_SEQUENCE)
                packet.track_descriptor.uuid = uuid
                packet.track_descriptor.process.pid = track.shown_pid
                packet.track_descriptor.process.process_name = track.process_name
                yield _framed(packet)
            yield self._descriptor(track, self._uuids[number], self._process_uuids[track.shown_pid])

    def _descriptor(self, track: Track, uuid: int, process_uuid: int) -> bytes:
        packet = self._protos.TracePacket(trusted_packet_sequence_id=_SEQUENCE)
        descriptor = packet.track_descriptor
        descriptor.uuid = uuid
        descriptor.parent_uuid = process_uuid
        descriptor.thread.pid = track.shown_pid
        descriptor.thread.tid = track.shown_tid
        descriptor.thread.thread_name = track.name
        return _framed(packet)

    def of_spans(self, batch: pa.RecordBatch, leaving: _SpanEnds, arriving: _SpanEnds) -> Iterator[bytes]:
        """The packets of spans where they begin, and before each those of spans of its track that have ended."""
        columns = (batch[name].to_pylist() for name in ("track", "start_ns", "dur_ns", "context", "step"))
        rare = self._rare(batch)
        for row, (track, start_ns, dur_ns, context, step) in enumerate(zip(*columns, strict=True)):
            open_ends_ns = self._open_ends_ns[track]
            while open_ends_ns and open_ends_ns[-1] <= start_ns:
                yield self._ended(track, open_ends_ns.pop())
            end_ns = start_ns + dur_ns
            open_ends_ns.append(min(end_ns, open_ends_ns[-1]) if open_ends_ns else end_ns)
            kept = self._begins[context]
            kept.packet.timestamp = start_ns
            kept.event.track_uuid = self._uuids[track]
            if step is not None:
                kept.step.int_value = step
            place = (track, start_ns, context)
            more = rare[row] if rare is not None else ()
            if step is None or more or place in leaving or place in arriving:
                copy = self._protos.TracePacket()
                copy.CopyFrom(kept.packet)
                if step is None:
                    del copy.track_event.debug_annotations[0]
                copy.track_event.debug_annotations.extend(more)
                copy.track_event.flow_ids.extend(leaving.get(place, ()))
                copy.track_event.terminating_flow_ids.extend(arriving.get(place, ()))
                yield _framed(copy)
            else:
                yield _framed(kept.packet)

    def ends_before(self, before_ns: int) -> Iterator[bytes]:
        """The packets of spans that are open and end before a time."""
        for track, open_ends_ns in enumerate(self._open_ends_ns):
            while open_ends_ns and open_ends_ns[-1] < before_ns:
                yield self._ended(track, open_ends_ns.pop())

    def of_counters(self, counters: Sequence[CounterTrack]) -> Iterator[bytes]:
        """The packets of counters: each one's track, then its points. Those of spans' tracks stand before."""
        for uuid, counter in enumerate(counters, start=2 * len(self._stream.tracks) + 1):
            packet = self._protos.TracePacket(trusted_packet_sequence_id=_SEQUENCE)
            packet.track_descriptor.uuid = uuid
            packet.track_descriptor.parent_uuid = self._process_uuids[counter.shown_pid]
            packet.track_descriptor.name = counter.name
            packet.track_descriptor.counter.unit_name = counter.unit
            yield _framed(packet)
            point = self._event(self._protos.TrackEvent.TYPE_COUNTER)
            point.track_event.track_uuid = uuid
            for ts_ns, value in counter.points:
                point.timestamp, point.track_event.double_counter_value = ts_ns, value
                yield _framed(point)

    def _ended(self, track: int, end_ns: int) -> bytes:
        packet = self._ends[track]
        packet.timestamp = end_ns
        return _framed(packet)

    def _event(self, event_type: int) -> Any:
        packet = self._protos.TracePacket(
            trusted_packet_sequence_id=_SEQUENCE,
            sequence_flags=self._protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE,
        )
        packet.track_event.type = event_type
        return packet

    def _end(self, uuid: int) -> Any:
        packet = self._event(self._protos.TrackEvent.TYPE_SLICE_END)
        packet.track_event.track_uuid = uuid
        return packet

    def _begin(self, context: dict[str, Any]) -> _Begin:
        packet = self._event(self._protos.TrackEvent.TYPE_SLICE_BEGIN)
        event = packet.track_event
        step = event.debug_annotations.add(name_iid=self._keys["step"])
        event.name_iid = self._names[context["name"]]
        event.category_iids.append(self._categories[context["kind"]])
        for key in _ANNOTATED:
            if context[key] is not None:
                event.debug_annotations.add(name_iid=self._keys[key], string_value_iid=self._values[context[key]])
        return _Begin(packet, event, step)

    def _rare(self, batch: pa.RecordBatch) -> list[list[Any]] | None:
        """Annotations of each span that only ``--record full`` and devices know; None where no span has any."""
        known = [name for name in _RARE if batch[name].null_count < len(batch)]
        if not known:
            return None
        annotation = self._protos.DebugAnnotation
        return [
            [
                annotation(name_iid=self._keys[name], **{"string_value" if name == "shapes" else "int_value": value})
                for name, value in row.items()
                if value is not None
            ]
            for row in batch.select(known).to_pylist()
        ]


_FRAMES = [_PACKET + varint(length) for length in range(1 << 12)]


def _framed(packet: Any) -> bytes:
    data: bytes = packet.SerializeToString()
    return (_FRAMES[len(data)] if len(data) < len(_FRAMES) else _PACKET + varint(len(data))) + data
