"""Chrome traces: the Trace Event Format, as torch.profiler writes it, for Perfetto, chrome://tracing and TensorBoard.

Source of the format: the document "Trace Event Format" of the Chromium project. Beside what viewers read, the file
holds the context trees, and each event the number of its context, its self time and its step: ``import`` makes the very
run of it again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

from deepseek_prof.exporters.lines import quoted

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.exporters.counter_tracks import CounterTrack
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.exporters.span_stream import SpanStream
    from deepseek_prof.exporters.tracks import Track
    from deepseek_prof.trace.run import Run

_PRIVATE = frozenset({"argv", "python"})
"""What ``run.json`` says of a process and a trace, which is made to be shown around, does not: paths of the machine."""
_CATEGORIES = {
    "op": "cpu_op",
    "autograd": "cpu_op",
    "collective": "cpu_op",
    "layer": "python_function",
    "python": "python_function",
    "runtime": "cuda_runtime",
    "sync": "cuda_runtime",
}
_DEVICE_CATEGORIES = {
    "memcpy": "gpu_memcpy",
    "memset": "gpu_memset",
    "user": "gpu_user_annotation",
    "sync": "cuda_sync",
}
_ARROWS = {kind: f'"cat":"{name}","name":"{name}","id":' for kind, name in (("launch", "ac2g"), ("backward", "fwdbwd"))}
"""The names that torch.profiler gives them."""
_STEP_NAME = "ProfilerStep#"
"""What tools that read torch.profiler's traces know steps by; the step's number follows."""


class ChromeTraceExporter:
    """Threads, streams and counters as tracks, spans as complete events, arrows to kernels and to backward."""

    summary = "Trace Event Format, for ui.perfetto.dev and chrome://tracing; import reads it back"
    suffix = ".trace.json.gz"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the selected spans.

        Raises:
            UsageError: nothing is selected.
            RunDamagedError: a file of the run is damaged.
        """
        from deepseek_prof.exporters.arrows import Arrows
        from deepseek_prof.exporters.counter_tracks import counter_tracks
        from deepseek_prof.exporters.span_stream import SpanStream

        stream = SpanStream(run, selection)
        arrows = Arrows(run, stream)
        events = _Events(stream)
        file.write(_head(run, stream))
        for window in stream.windows:
            events.write(stream.table(window), file)
            events.write_arrows(arrows.leaving(window), "s", file)
            events.write_arrows(arrows.arriving(window), "f", file)
        file.writelines(_counter_text(track, stream.start_ns) for track in counter_tracks(run, stream))
        file.write(b"]}\n")


class _Events:
    """Makes the text of events; each begins with the comma behind the one before it."""

    def __init__(self, stream: SpanStream) -> None:
        import pyarrow as pa

        from deepseek_prof.exporters.lines import texts

        kinds = stream.context_values("kind")
        columns = [(name, stream.context_values(name)) for name in ("kind", "type", "phase", "layer")]
        self._start_ns = stream.start_ns
        self._contexts = len(kinds)
        # The categories of the host's contexts, then of the same contexts on a device.
        self._categories = texts(
            [
                *(_CATEGORIES.get(kind, "user_annotation") for kind in kinds),
                *(_DEVICE_CATEGORIES.get(kind, "kernel") for kind in kinds),
            ]
        )
        # Without the closing quote: the number of a step follows.
        self._names = texts(
            f'","name":"{_STEP_NAME}' if kind == "step" else f'","name":{quoted(name)[:-1]}'
            for kind, name in zip(kinds, stream.context_values("name"), strict=True)
        )
        self._is_step = pa.array([kind == "step" for kind in kinds])
        self._arguments = texts(
            f'"context":{number}'
            + "".join(f',"{key}":{quoted(values[number])}' for key, values in columns if values[number] is not None)
            for number in range(self._contexts)
        )
        self._places = texts(f',"pid":{track.shown_pid},"tid":{track.shown_tid},"ts":' for track in stream.tracks)
        self._devices = texts(_device_arguments(track) for track in stream.tracks)
        self._arrow_kinds, self._arrows = pa.array(_ARROWS), texts(_ARROWS.values())
        self._fractions = texts(f".{number:03d}" for number in range(1000))
        self._nothing = pa.scalar("", pa.large_string())
        self._on_device = pa.array([self._contexts if track.device else 0 for track in stream.tracks])

    def write(self, table: pa.Table, file: BinaryIO) -> None:
        """Write the complete events of some spans."""
        from deepseek_prof.exporters.lines import BATCH_ROWS

        for batch in table.to_batches(BATCH_ROWS):
            self._write(batch, file)

    def _write(self, batch: pa.RecordBatch, file: BinaryIO) -> None:
        import pyarrow.compute as pc

        from deepseek_prof.exporters.lines import after, number_text, quoted_text, write_lines

        context, track = batch["context"], batch["track"]
        step = number_text(batch["step"])
        write_lines(
            file,
            (
                ',\n{"ph":"X","cat":"',
                self._categories.take(pc.add(context, self._on_device.take(track))),
                self._names.take(context),
                pc.if_else(self._is_step.take(context), step, None),
                '"',
                self._places.take(track),
                self._microseconds(pc.subtract(batch["start_ns"], self._start_ns)),
                ',"dur":',
                self._microseconds(batch["dur_ns"]),
                ',"args":{',
                self._arguments.take(context),
                after(',"step":', step),
                after(',"self_ns":', number_text(batch["self_ns"])),
                self._devices.take(track),
                after(',"bytes":', number_text(batch["bytes"])),
                after(',"flops":', number_text(batch["flops"])),
                after(',"shapes":', quoted_text(batch["shapes"])),
                "}}",
            ),
        )

    def write_arrows(self, ends: pa.Table, phase: str, file: BinaryIO) -> None:
        """Write the beginnings (``s``) or ends (``f``) of arrows."""
        import pyarrow.compute as pc

        from deepseek_prof.exporters.lines import BATCH_ROWS, number_text, write_lines

        for batch in ends.to_batches(BATCH_ROWS):
            write_lines(
                file,
                (
                    f',\n{{"ph":"{phase}",' + ('"bp":"e",' if phase == "f" else ""),
                    self._arrows.take(pc.index_in(batch["kind"], self._arrow_kinds)),
                    number_text(batch["arrow"]),
                    self._places.take(batch["track"]),
                    self._microseconds(pc.subtract(batch["start_ns"], self._start_ns)),
                    "}",
                ),
            )

    def _microseconds(self, ns: pa.Array) -> pa.Array:
        """Nanoseconds as text in microseconds, exact: a double could be off."""
        import pyarrow.compute as pc

        from deepseek_prof.exporters.lines import number_text

        whole = pc.divide(ns, 1000)
        fraction = self._fractions.take(pc.subtract(ns, pc.multiply(whole, 1000)))
        return pc.binary_join_element_wise(number_text(whole), fraction, self._nothing)


def _counter_text(track: CounterTrack, begin_ns: int) -> bytes:
    """A counter event for each point. Under ``args`` stands no name that an event of a span has."""
    events = (
        {
            "ph": "C",
            "name": f"{track.name} [{track.unit}]" if track.unit else track.name,
            "pid": track.shown_pid,
            "ts": (ts_ns - begin_ns) / 1000,
            "args": {"value": value},
        }
        for ts_ns, value in track.points
    )
    return "".join(f",\n{_text(event)}" for event in events).encode("utf-8", "replace")


def _device_arguments(track: Track) -> str:
    """As torch.profiler writes them: the index of the device, not its name."""
    if track.device is None:
        return ""
    _, _, index = track.device.partition(":")
    device = index if index.isascii() and index.isdecimal() else quoted(track.device)
    return f',"device":{device},"stream":{track.tid if track.stream is None else track.stream}'


def _head(run: Run, stream: SpanStream) -> bytes:
    """Everything before the spans: the run's description, and the events that name processes and threads."""
    from deepseek_prof.importing.own_trace import FORMAT_VERSION, OWN_KEY

    described = {
        "schemaVersion": 1,
        "displayTimeUnit": "ns",
        "baseTimeNanoseconds": stream.start_ns,
        OWN_KEY: {
            "version": FORMAT_VERSION,
            "tracks": [
                (each.shown_pid, each.shown_tid, each.rank, each.pid, each.tid, each.device, each.stream)
                for each in stream.tracks
            ],
            "contexts": [tuple(row.values()) for row in stream.contexts.to_pylist()],
            "processes": [
                {key: value for key, value in process.items() if key not in _PRIVATE} for process in run.processes
            ],
        },
    }
    events = [_text(event) for track in stream.tracks for event in _naming_events(track)]
    head = f'{_text(described)[:-1]},"traceEvents":[\n' + ",\n".join(events)
    return head.encode("utf-8", "replace")  # file names of a program may be any bytes


def _naming_events(track: Track) -> list[dict[str, Any]]:
    place = {"ph": "M", "pid": track.shown_pid, "tid": track.shown_tid}
    return [
        {**place, "name": "process_name", "args": {"name": track.process_name}},
        {**place, "name": "process_sort_index", "args": {"sort_index": track.rank * 2 + bool(track.device)}},
        {**place, "name": "thread_name", "args": {"name": track.name}},
        {**place, "name": "thread_sort_index", "args": {"sort_index": track.place}},
    ]


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
