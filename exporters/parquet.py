"""Parquet: one file with the columns of the ``spans`` view, by start, for DuckDB, pandas, polars and Spark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.exporters.span_stream import SpanStream
    from deepseek_prof.trace.run import Run

COLUMNS = (
    "rank",
    "pid",
    "tid",
    "step",
    "phase",
    "kind",
    "name",
    "type",
    "layer",
    "start_ns",
    "dur_ns",
    "self_ns",
    "context_id",
    "device",
    "stream",
    "bytes",
    "flops",
    "shapes",
)
"""Those of the ``spans`` view, in its order."""
_OF_CONTEXT = ("phase", "kind", "name", "type", "layer")
_DELTAS = ("start_ns", "dur_ns", "self_ns")


class ParquetExporter:
    """Spans as rows; a window of time is a row group, so that readers skip what they do not ask for."""

    summary = "one table of all spans, for DuckDB, pandas, polars, Spark"
    suffix = ".parquet"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the selected spans, compressed with zstd.

        Raises:
            UsageError: nothing is selected.
            RunDamagedError: a file of the run is damaged.
        """
        import pyarrow.parquet as pq

        from deepseek_prof.exporters.span_stream import SpanStream

        stream = SpanStream(run, selection)
        names = _Names(stream)
        schema = names.added_to(stream.table(stream.windows[0])).schema
        with pq.ParquetWriter(
            ArrowSink(file),
            schema,
            compression="zstd",
            use_dictionary=[name for name in COLUMNS if name not in _DELTAS],
            column_encoding=dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"),
            store_schema=False,  # would tell readers to make categories of names
        ) as writer:
            for table in stream.tables():
                writer.write_table(names.added_to(table))


class _Names:
    """What spans have from their contexts, each text once in memory."""

    def __init__(self, stream: SpanStream) -> None:
        self._columns = {name: stream.contexts[name].combine_chunks().dictionary_encode() for name in _OF_CONTEXT}

    def added_to(self, table: pa.Table) -> pa.Table:
        """The columns of the ``spans`` view."""
        import pyarrow as pa

        context = table["context"].combine_chunks()
        found = {
            name: pa.DictionaryArray.from_arrays(column.indices.take(context), column.dictionary)
            for name, column in self._columns.items()
        }
        return pa.table({name: found[name] if name in found else table[name] for name in COLUMNS})


class ArrowSink:
    """A binary file for Arrow, which asks for the place in it: a pipe has none to tell."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = 0

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        self._file.write(data)
        self._place += len(data)
        return len(data)

    def tell(self) -> int:
        """How many bytes were written."""
        return self._place

    def flush(self) -> None:
        """Pass on what is buffered."""
        self._file.flush()

    def close(self) -> None:
        """The file is closed by who opened it."""
        self.flush()
