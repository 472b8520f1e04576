"""From the segments of a process to the rows of a Parquet part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.segments import Int64s, Segment
from deepseek_prof.recording.signatures import Signature, flops
from deepseek_prof.recording.steps import StepBoundaries
from deepseek_prof.trace.schema import SPANS


def spans_to_arrow(
    segments: Sequence[Segment],
    contexts: ContextTable,
    signatures: Mapping[int, Signature],
    boundaries: StepBoundaries,
    offset_ns: int,
) -> tuple[pa.Table, int]:
    """The spans of these segments, and how many of them name a context that is not in the log.

    The segments are of one process; ``offset_ns`` leads from CLOCK_MONOTONIC to the Unix epoch.
    """
    start_ns = np.concatenate([segment.start_ns for segment in segments])
    local_context = np.concatenate([segment.context for segment in segments])
    signature = np.concatenate([segment.signature for segment in segments])
    context_ids, unknown = contexts.ids_of(local_context)
    count = len(start_ns)
    columns: dict[str, pa.Array] = {
        "tid": pa.array(np.repeat([segment.tid for segment in segments], [len(segment) for segment in segments])),
        "step": boundaries.steps_of(start_ns),
        "start_ns": pa.array(start_ns + offset_ns),
        "dur_ns": pa.array(np.concatenate([segment.dur_ns for segment in segments])),
        "self_ns": pa.array(np.concatenate([segment.self_ns for segment in segments])),
        "context_id": pa.array(context_ids),
    }
    if signature.any():
        columns |= _signature_columns(signature, local_context, contexts, signatures)
    fields = [SPANS.field(name) for name in SPANS.names]
    arrays = [columns[field.name] if field.name in columns else pa.nulls(count, field.type) for field in fields]
    schema = pa.schema([field.with_type(array.type) for field, array in zip(fields, arrays, strict=True)])
    return pa.table(arrays, schema=schema), unknown


def _signature_columns(
    signature: Int64s, local_context: Int64s, contexts: ContextTable, signatures: Mapping[int, Signature]
) -> dict[str, pa.Array]:
    # A few thousand distinct pairs for millions of spans: look at each pair once.
    pairs, pair_of_span = np.unique(local_context << 16 | signature, return_inverse=True)
    bytes_of_pair: list[int | None] = []
    flops_of_pair: list[int | None] = []
    text_of_pair: list[int | None] = []
    texts: dict[str, int] = {}
    for pair in pairs.tolist():
        known = signatures.get(pair & 0xFFFF)
        operator = contexts.counted_operator(pair >> 16)
        bytes_of_pair.append(None if known is None else known.size_bytes)
        flops_of_pair.append(None if known is None or operator is None else flops(operator, known))
        text_of_pair.append(None if known is None else texts.setdefault(known.shapes, len(texts)))
    index: npt.NDArray[np.int64] = pair_of_span.reshape(-1)
    shapes = pa.DictionaryArray.from_arrays(
        pa.array(text_of_pair, pa.int32()).take(pa.array(index)), pa.array(list(texts), pa.string())
    )
    return {
        "bytes": pa.array(bytes_of_pair, pa.int64()).take(pa.array(index)),
        "flops": pa.array(flops_of_pair, pa.int64()).take(pa.array(index)),
        "shapes": shapes,
    }
