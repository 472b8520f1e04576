"""Keeps a run within its size: the oldest raw spans go, their sums by thread and context stay."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from deepseek_prof.recording.part_files import LAST_PART_KEY, Part, PartFiles, read_table, write_parquet
from deepseek_prof.trace.schema import SUMS


def evict_oldest(files: PartFiles, max_size_bytes: int) -> int:
    """Turns the oldest parts into sums until all parts fit, the newest excepted. Returns the spans removed.

    Raises OSError; what was not yet removed is then still there.
    """
    removed = 0
    while files.size_bytes > max_size_bytes and len(files.parts) > 1:
        part = files.parts[0]
        _add_to_sums(files, part)
        files.remove(part)
        removed += part.rows
    return removed


def _add_to_sums(files: PartFiles, part: Part) -> None:
    spans = read_table(files.path(part)).select(["tid", "context_id", "dur_ns", "self_ns"])
    ones = pa.repeat(pa.scalar(1, pa.int64()), spans.num_rows)
    rows = spans.append_column("count", ones).append_column("max_dur_ns", spans["dur_ns"]).select(SUMS.names).cast(SUMS)
    path = files.sums_path(part.pid)
    if path.exists():
        rows = pa.concat_tables([read_table(path).cast(SUMS), rows])
    write_parquet(path, sum_by_context(rows), {LAST_PART_KEY: str(part.number).encode()})


def sum_by_context(rows: pa.Table) -> pa.Table:
    """Adds up rows of the sums schema that share thread and context."""
    grouped = rows.group_by(["tid", "context_id"]).aggregate(
        [("count", "sum"), ("dur_ns", "sum"), ("self_ns", "sum"), ("max_dur_ns", "max")]
    )
    renamed = grouped.rename_columns(
        [name.removesuffix("_sum").replace("ns_max", "ns") for name in grouped.column_names]
    )
    return renamed.select(SUMS.names).cast(SUMS)


def summed_spans(files: PartFiles, pid: int) -> int:
    """How many spans of a process only its sums hold."""
    path = files.sums_path(pid)
    return int(pc.sum(read_table(path)["count"]).as_py() or 0) if path.exists() else 0
