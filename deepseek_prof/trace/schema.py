"""The physical columns of a run directory's Parquet files, as Arrow schemas.

``rank`` and ``pid`` are not columns of the files: they come from the Hive path. Times are integer nanoseconds;
``start_ns`` and ``ts_ns`` count from the Unix epoch. Files are written by :mod:`deepseek_prof.recording`.
"""

from __future__ import annotations

import pyarrow as pa

SPANS = pa.schema(
    [
        pa.field("tid", pa.int64(), nullable=False),
        pa.field("step", pa.int32()),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("dur_ns", pa.int64(), nullable=False),
        pa.field("self_ns", pa.int64(), nullable=False),
        pa.field("context_id", pa.int64(), nullable=False),
        pa.field("device", pa.string()),
        pa.field("stream", pa.int32()),
        pa.field("bytes", pa.int64()),
        pa.field("flops", pa.int64()),
        pa.field("shapes", pa.string()),
    ]
)
"""One row a span. ``step`` is null before the first step began."""

CONTEXTS = pa.schema(
    [
        pa.field("context_id", pa.int64(), nullable=False),
        pa.field("parent_id", pa.int64()),
        pa.field("depth", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("layer", pa.string()),
        pa.field("phase", pa.string(), nullable=False),
    ]
)
"""One row a node of the calling context tree. ``depth`` counts the ancestors: a root has 0."""

SUMS = pa.schema(
    [
        pa.field("tid", pa.int64(), nullable=False),
        pa.field("context_id", pa.int64(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("dur_ns", pa.int64(), nullable=False),
        pa.field("self_ns", pa.int64(), nullable=False),
        pa.field("max_dur_ns", pa.int64(), nullable=False),
    ]
)
"""What is left of raw spans that the size limit removed: one row a thread and context."""

LAUNCHES = pa.schema(
    [
        pa.field("step", pa.int32()),
        pa.field("launched_ns", pa.int64(), nullable=False),
        pa.field("start_ns", pa.int64(), nullable=False),
        pa.field("dur_ns", pa.int64(), nullable=False),
        pa.field("context_id", pa.int64(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("stream", pa.int32(), nullable=False),
        pa.field("graph_id", pa.int64()),
        pa.field("graph_node_id", pa.int64()),
    ]
)
"""One row a kernel, copy or memset whose launching call was seen: ``launched_ns`` is when that call began, the rest is
as in its span. ``graph_id``, ``graph_node_id``: of work in a CUDA graph, where the driver tells them."""

COUNTERS = pa.schema(
    [
        pa.field("ts_ns", pa.int64(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
    ]
)
"""One row a sample of a device or process counter."""

ALLOCATIONS = pa.schema(
    [
        pa.field("tid", pa.int64(), nullable=False),
        pa.field("ts_ns", pa.int64(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("address", pa.int64(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("context_id", pa.int64()),
    ]
)
"""One row for every allocation and release of tensor memory, and one where what the memory holds was noted: ``event``
is ``allocated | freed | parameter | buffer | gradient | optimizer``. ``size_bytes`` is 0 for ``freed``. ``context_id``
is that of the innermost span, for notes that of the layer that owns the parameter; null where there is none."""

SAMPLES = pa.schema(
    [
        pa.field("tid", pa.int64(), nullable=False),
        pa.field("ts_ns", pa.int64(), nullable=False),
        pa.field("stack", pa.string(), nullable=False),
        pa.field("step", pa.int32()),
        pa.field("context_id", pa.int64()),
    ]
)
"""One row a sampling period and thread. ``stack``: see :mod:`deepseek_prof.trace.stack_text`. ``context_id`` is that of
the innermost span around the sample, null between spans."""
