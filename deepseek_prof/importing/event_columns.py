"""Columns of events: what they are called and hold, and how they grow batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Int64s: TypeAlias = npt.NDArray[np.int64]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]

HOST_COLUMNS = {
    "thread": np.int32,
    "label": np.int32,
    "start_ns": np.int64,
    "dur_ns": np.int64,
    "external": np.int64,
    "signature": np.int32,
}
LINK_COLUMNS = {"row": np.int32, "sequence": np.int64, "forward_thread": np.int32}
LAUNCH_COLUMNS = {"row": np.int32, "correlation": np.int64}
DEVICE_COLUMNS = {
    "thread": np.int32,
    "label": np.int32,
    "start_ns": np.int64,
    "dur_ns": np.int64,
    "external": np.int64,
    "correlation": np.int64,
    "device": np.int64,
    "stream": np.int64,
    "bytes": np.int64,
    "graph": np.int64,
    "graph_node": np.int64,
}
FLOW_COLUMNS = {"identity": np.int64, "thread": np.int32, "start_ns": np.int64, "begins": np.bool_}
"""The ends of the arrows from forward operators to their backward nodes."""


class Interned(dict[Any, int]):
    """Numbers for values, in order of appearance."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        super().__init__()
        self._make = make
        self.values_made: list[Any] = []

    def __missing__(self, key: Any) -> int:
        self.values_made.append(self._make(key))
        number = self[key] = len(self.values_made) - 1
        return number


class GrowingColumns:
    """Columns that blocks are appended to, and that become whole arrays one at a time."""

    def __init__(self, types: dict[str, Any]) -> None:
        self._types = types
        self._blocks: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in types}
        self.rows = 0

    def append(self, **columns: Any) -> None:
        """Adds as many rows as each of the columns has."""
        for name, values in columns.items():
            self._blocks[name].append(np.asarray(values, dtype=self._types[name]))
        self.rows += len(self._blocks[next(iter(self._types))][-1])

    def finish(self) -> Columns:
        """All columns; the blocks of each are let go before the next is made."""
        whole: Columns = {}
        for name, dtype in self._types.items():
            blocks = self._blocks.pop(name)
            whole[name] = np.concatenate(blocks) if blocks else np.zeros(0, dtype)
        return whole
