"""JSON Lines: one object a span, by start, with the keys of ``deepseek-prof logs --format json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.exporters.span_stream import SpanStream
    from deepseek_prof.trace.run import Run

_NAMES = {"phase": "phase", "layer": "layer", "op": "name", "type": "type", "kind": "kind"}
"""Keys that a span has from its context, with the column there."""


class JsonLinesExporter:
    """Spans as lines; what a span has not is left out of its line."""

    summary = "one JSON object a line for each span, for jq and log pipelines"
    suffix = ".jsonl"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the selected spans; everything beyond ASCII is escaped.

        Raises:
            UsageError: nothing is selected.
            RunDamagedError: a file of the run is damaged.
        """
        from deepseek_prof.exporters.lines import BATCH_ROWS
        from deepseek_prof.exporters.span_stream import SpanStream

        stream = SpanStream(run, selection)
        names = _context_texts(stream)
        for table in stream.tables():
            for batch in table.to_batches(BATCH_ROWS):
                _write(batch, names, file)


def _context_texts(stream: SpanStream) -> pa.Array:
    from deepseek_prof.exporters.lines import quoted, texts

    columns = [(key, stream.context_values(column)) for key, column in _NAMES.items()]
    return texts(
        "".join(f', "{key}": {quoted(values[number])}' for key, values in columns if values[number] is not None)
        for number in range(len(stream.contexts))
    )


def _write(batch: pa.RecordBatch, names: pa.Array, file: BinaryIO) -> None:
    from deepseek_prof.exporters.lines import after, number_text, quoted_text, write_lines

    def member(key: str) -> pa.Array | None:
        return after(f', "{key}": ', number_text(batch[key]))

    write_lines(
        file,
        (
            '{"ts_ns": ',
            number_text(batch["start_ns"]),
            *map(member, ("rank", "pid", "tid", "step")),
            names.take(batch["context"]),
            *map(member, ("dur_ns", "self_ns")),
            after(', "device": ', quoted_text(batch["device"])),
            *map(member, ("stream", "bytes", "flops")),
            after(', "shapes": ', quoted_text(batch["shapes"])),
            "}\n",
        ),
    )
