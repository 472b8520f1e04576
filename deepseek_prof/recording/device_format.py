"""Live files of work on devices: ``device-NNNNN.bin``, one a window; see ``docs/architecture.md``, live format.

The writer uses the standard library only, because it runs inside profiled programs.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DEVICE_MAGIC = b"DSPDEV1\0"
DEVICE_HEADER = struct.Struct("<8sII")
"""magic, bytes of the JSON description that follows, bytes of padding behind that."""
DEVICE_COLUMNS = (
    "label",
    "start_ns",
    "dur_ns",
    "correlation",
    "device",
    "resource",
    "bytes",
    "graph",
    "graph_node",
)
"""Of int64, one after the other; -1 where an activity does not tell. ``resource``: the stream, of a call the thread."""
MARK = "launch_mark"
"""The category of a row that is no span: where the program was when it started what has the same ``correlation``."""
GRAPH_CAPTURE, GRAPH_REPLAY = "graph_capture", "graph_replay"
"""Rows that are no spans either: when a thread, ``resource``, captured or replayed the CUDA graph that has our number
``graph``."""
HANDLE_MASK = 0xFFFFFFFF
"""What CUPTI tells of ``pthread_self()``."""


@dataclass
class DeviceActivities:
    """What one window holds. Times are nanoseconds, CLOCK_MONOTONIC."""

    labels: dict[tuple[str, str], int] = field(default_factory=dict)
    """Category and name -> the number in the column ``label``."""
    columns: dict[str, array[int]] = field(default_factory=lambda: {name: array("q") for name in DEVICE_COLUMNS})

    def __len__(self) -> int:
        return len(self.columns["label"])

    def append(
        self,
        category: str,
        name: str,
        start_ns: int,
        dur_ns: int,
        correlation: int,
        device: int,
        resource: int,
        size_bytes: int = -1,
        graph: int = -1,
        graph_node: int = -1,
    ) -> None:
        """Add one activity."""
        label = self.labels.setdefault((category, name), len(self.labels))
        values = (label, start_ns, dur_ns, correlation, device, resource, size_bytes, graph, graph_node)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)


def write_activities(path: Path, activities: DeviceActivities, threads: Mapping[int, Sequence[int]]) -> int:
    """Write a window's file, whole or not at all, and return its size in bytes.

    Args:
        path: must not exist.
        activities: of the window.
        threads: the low 32 bits of ``pthread_self()`` -> the ids in the operating system of the threads that have had
            it, the latest first.

    Raises:
        OSError: the file cannot be written.
    """
    description = json.dumps(
        {
            "rows": len(activities),
            "labels": list(activities.labels),
            "threads": {str(handle): list(tids) for handle, tids in threads.items()},
        },
        ensure_ascii=True,
    ).encode("ascii")
    padding = -(DEVICE_HEADER.size + len(description)) % 8
    temporary = path.with_suffix(".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(DEVICE_HEADER.pack(DEVICE_MAGIC, len(description), padding) + description + b"\0" * padding)
            for column in activities.columns.values():
                file.write(_little_endian(column))
            size = file.tell()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size


def _little_endian(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = array("q", column)
        column.byteswap()
    return column.tobytes()
