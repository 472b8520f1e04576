"""What is kept of Kineto's events, and the thread that writes them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from deepseek_prof.collectors.cuda_activities import MAX_WAITING, ActivityWriter, read_events
from deepseek_prof.collectors.cuda_graphs import GraphMark
from deepseek_prof.recording.device_files import read_device_file
from deepseek_prof.recording.device_format import DeviceActivities


class Event:
    """An event as Kineto tells it."""

    def __init__(self, category: str, name: str, correlation: int, metadata: str = "") -> None:
        self._values = (category, name, correlation, metadata)

    def activity_type(self) -> str:
        """Its category."""
        return self._values[0]

    def name(self) -> str:
        """Its name."""
        return self._values[1]

    def correlation_id(self) -> int:
        """What ties work to its launch."""
        return self._values[2]

    def metadata_json(self) -> str:
        """The inside of a JSON object."""
        return self._values[3]

    def start_ns(self) -> int:
        """Since the epoch."""
        return 5_000

    def duration_ns(self) -> int:
        """Its length."""
        return 10

    def device_index(self) -> int:
        """Its device."""
        return 1

    def device_resource_id(self) -> int:
        """Its stream or thread."""
        return 7


EVENTS = [
    Event("cpu_op", "aten::mm", 1),
    Event("cuda_runtime", "cudaLaunchKernel", 11),
    Event("cuda_runtime", "cudaGetDevice", 12),
    Event("cuda_runtime", "cudaStreamSynchronize", 13),
    Event("cuda_driver", "cuLaunchKernel", 14),
    Event("cuda_runtime", "cudaMalloc", 15),
    Event("kernel", "gemm", 11, '"device": 1, "graph id": 3, "graph node id": 44'),
    Event("kernel", "triton_poi", 14, '"graph id": 0'),
    Event("gpu_memcpy", "Memcpy HtoD", 16, '"stream": 7, "bytes": 4096'),
    Event("overhead", "Buffer Flush", 0),
]


def _rows(activities: DeviceActivities) -> list[dict[str, Any]]:
    labels = {number: label for label, number in activities.labels.items()}
    columns = activities.columns
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{**row, "label": labels[row["label"]][1]} for row in rows]


def test_work_and_the_calls_that_matter_are_kept() -> None:
    rows = _rows(read_events(EVENTS, 1_000, with_metadata=False))
    assert {row["label"] for row in rows} == {
        "gemm",
        "triton_poi",
        "Memcpy HtoD",
        "cudaLaunchKernel",
        "cuLaunchKernel",
        "cudaStreamSynchronize",
        "cudaMalloc",
    }
    assert {(row["start_ns"], row["dur_ns"], row["resource"], row["bytes"]) for row in rows} == {(4_000, 10, 7, -1)}
    assert {row["device"] for row in rows if row["label"].startswith("cu")} == {-1}
    assert {row["device"] for row in rows if not row["label"].startswith("cu")} == {1}


def test_the_drivers_numbers_are_read_where_they_are_told() -> None:
    rows = {row["label"]: row for row in _rows(read_events(EVENTS, 0, with_metadata=True))}
    assert (rows["gemm"]["graph"], rows["gemm"]["graph_node"]) == (3, 44)
    assert rows["Memcpy HtoD"]["bytes"] == 4096
    assert rows["triton_poi"]["graph_node"] == -1


def test_of_the_calls_in_a_capture_those_that_make_nodes_are_kept() -> None:
    """All of these events are at 4,000 on the monotonic clock and have started nothing."""
    calls = ("cudaLaunchKernel", "cudaMemcpyAsync", "cudaStreamWaitEvent", "cudaGetDevice")
    events = [Event("cuda_runtime", name, 20 + number) for number, name in enumerate(calls)]

    def kept(*marks: GraphMark) -> set[tuple[str, int]]:
        rows = _rows(read_events(events, 1_000, marks, with_metadata=False))
        return {(row["label"], row["graph"]) for row in rows}

    before, around = (3_000, 4_000), (3_500, 4_100)
    captured = {(name, -1) for name in calls[:3]}
    assert kept() == set()
    assert kept(GraphMark(True, 1, 71, *before)) == {("", 1)}
    assert kept(GraphMark(False, 1, 71, *around)) == {("", 1)}
    assert kept(GraphMark(True, 1, 71, *around)) == {("", 1), *captured}
    # The longer of two that overlap.
    assert kept(GraphMark(True, 1, 71, 3_000, 5_000), GraphMark(True, 2, 72, 3_200, 3_300)) == {
        ("", 1),
        ("", 2),
        *captured,
    }


def test_windows_are_written_in_order_with_the_threads_of_their_time(tmp_path: Path) -> None:
    writer = ActivityWriter(lambda: tmp_path, lambda: {2: [71, 70]})
    for name in ("first", "second"):
        writer.put(lambda name=name: read_events([Event("kernel", name, 1)], 0, with_metadata=False))  # type: ignore[misc]
    writer.put(DeviceActivities)
    writer.finish()
    found = [read_device_file(path) for path in sorted(tmp_path.iterdir())]
    assert [each.labels for each in found] == [(("kernel", "first"),), (("kernel", "second"),)]
    assert found[0].threads == {2: (71, 70)}
    assert writer.activities == 2
    assert writer.failure is None


def test_a_window_that_cannot_be_read_is_told_and_nothing_hangs(tmp_path: Path) -> None:
    writer = ActivityWriter(lambda: tmp_path / "gone", dict)
    for _ in range(5):
        writer.put(lambda: read_events(EVENTS, 0, with_metadata=False))
    writer.finish()
    assert writer.failure is not None
    assert "FileNotFoundError" in writer.failure


def test_what_waits_is_bounded(tmp_path: Path) -> None:
    go_on = threading.Event()
    writer = ActivityWriter(lambda: tmp_path, dict)

    def slow() -> DeviceActivities:
        assert go_on.wait(60)
        return DeviceActivities()

    for number in range(MAX_WAITING):
        assert not writer.is_behind, number
        writer.put(slow)
    assert writer.is_behind
    go_on.set()
    writer.finish()
    assert writer.failure is None
