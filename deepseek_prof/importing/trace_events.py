"""The content of one trace file once it is read: columns, and the rows of each thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.importing.event_columns import Columns
from deepseek_prof.importing.labels import Label
from deepseek_prof.recording.signatures import Signature
from deepseek_prof.trace.schema import SPANS

Rows: TypeAlias = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TraceEvents:
    """The columns of an :class:`~deepseek_prof.importing.event_table.EventTable`, complete.

    ``start_ns`` counts from ``base_ns``, nanoseconds after the Unix epoch.
    """

    host: Columns
    links: Columns
    launches: Columns
    device: Columns
    flows: Columns
    labels: Sequence[Label]
    threads: Sequence[tuple[Any, Any]]
    base_ns: int
    signatures: Sequence[Signature | None]

    @property
    def places(self) -> npt.NDArray[np.int8]:
        """The place of each label."""
        return np.array([label.place for label in self.labels], dtype=np.int8)


def rows_by_value(values: npt.NDArray[np.int32]) -> dict[int, Rows]:
    """The rows of each value, in their own order."""
    order = np.argsort(values, kind="stable").astype(np.int32)
    present, counts = np.unique(values, return_counts=True)
    ends = np.cumsum(counts).tolist()
    return {
        value: order[end - count : end]
        for value, end, count in zip(present.tolist(), ends, counts.tolist(), strict=True)
    }


def position_in(rows: Rows, sorted_rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which of ``rows`` are among ``sorted_rows``, as indexes into the first, and where, as indexes into the second."""
    if len(sorted_rows) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    index = np.minimum(np.searchsorted(sorted_rows, rows), len(sorted_rows) - 1)
    found = np.flatnonzero(sorted_rows[index] == rows)
    return found, index[found]


def span_table(columns: dict[str, pa.Array], count: int) -> pa.Table:
    """A table of :data:`~deepseek_prof.trace.schema.SPANS`; columns that are not given are null."""
    arrays = [columns[each.name] if each.name in columns else pa.nulls(count, each.type) for each in SPANS]
    return pa.table(arrays, schema=SPANS)
