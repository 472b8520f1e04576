"""What Kineto tells of a window of CUDA work, written for the recording process by a thread of its own.

Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from deepseek_prof.collectors.cuda_graphs import GraphMark
from deepseek_prof.recording.captured_calls import captured_kind, orders_streams
from deepseek_prof.recording.device_format import GRAPH_CAPTURE, GRAPH_REPLAY, DeviceActivities, write_activities

_ON_DEVICE = frozenset({"kernel", "gpu_memcpy", "gpu_memset", "cuda_sync"})
_CALLS = frozenset({"cuda_runtime", "cuda_driver"})
"""Kineto's names of the activities that are kept; ROCm's have the same."""
_NOTABLE = re.compile("Synchronize|Malloc|MemAlloc|Free|HostAlloc|HostRegister|GraphLaunch")
"""Calls that are worth a span whatever they start. PyTorch makes many more, most of which only ask for something."""
_AT_ONCE = 256
MAX_WAITING = 2
"""Windows that may wait to be written, so that memory is bounded; past it none begins."""
_NUMBER = {
    "size_bytes": re.compile(r'"bytes": (\d+)'),
    "graph": re.compile(r'"graph id": (\d+)'),
    "graph_node": re.compile(r'"graph node id": (\d+)'),
}


def read_events(
    events: Sequence[Any], offset_ns: int, graphs: Sequence[GraphMark] = (), *, with_metadata: bool
) -> DeviceActivities:
    """The activities among Kineto's events; calls that start, await, allocate and capture nothing are left out.

    Args:
        events: of ``_ProfilerResult.events()``, times since the Unix epoch.
        offset_ns: what leads from CLOCK_MONOTONIC to the clock of ``events``.
        graphs: captures and replays of the same window.
        with_metadata: whether the events hold the driver's numbers: bytes, graphs.
    """
    activities = DeviceActivities()
    calls: list[tuple[str, Any]] = []
    started: set[int] = set()
    for number, event in enumerate(events):
        if number % _AT_ONCE == 0:
            time.sleep(0)  # the program waits for the interpreter lock
        category = event.activity_type()
        if category in _CALLS:
            calls.append((category, event))
        elif category in _ON_DEVICE:
            correlation = event.correlation_id()
            started.add(correlation)
            activities.append(
                category,
                event.name(),
                event.start_ns() - offset_ns,
                event.duration_ns(),
                correlation,
                event.device_index(),
                event.device_resource_id(),
                **(_numbers(event.metadata_json()) if with_metadata else {}),
            )
    is_captured = _during_captures(graphs)
    for number, (category, event) in enumerate(calls):
        if number % _AT_ONCE == 0:
            time.sleep(0)
        correlation, name = event.correlation_id(), event.name()
        start_ns = event.start_ns() - offset_ns
        if correlation in started or _NOTABLE.search(name) or (is_captured(start_ns) and _makes_graphs(name)):
            activities.append(
                category, name, start_ns, event.duration_ns(), correlation, -1, event.device_resource_id()
            )
    for mark in graphs:
        category = GRAPH_CAPTURE if mark.is_capture else GRAPH_REPLAY
        dur_ns = mark.end_ns - mark.start_ns
        activities.append(category, "", mark.start_ns, dur_ns, -1, -1, mark.tid, graph=mark.number)
    return activities


def _during_captures(graphs: Sequence[GraphMark]) -> Callable[[int], bool]:
    """Whether a moment is in a capture. Those of several threads may overlap."""
    captures = sorted((each.start_ns, each.end_ns) for each in graphs if each.is_capture)
    starts = [start for start, _ in captures]
    ends = list(accumulate((end for _, end in captures), max, initial=0))
    return lambda ts_ns: ts_ns < ends[bisect_right(starts, ts_ns)]


def _makes_graphs(name: str) -> bool:
    return captured_kind(name) is not None or orders_streams(name)


def _numbers(metadata: str) -> dict[str, int]:
    found = {name: pattern.search(metadata) for name, pattern in _NUMBER.items()}
    return {name: int(match[1]) for name, match in found.items() if match is not None}


class ActivityWriter:
    """Writes ``device-NNNNN.bin`` files below ``directory`` from a thread of its own, in the order of ``put``."""

    def __init__(self, directory: Callable[[], Path], threads: Callable[[], dict[int, list[int]]]) -> None:
        self._directory = directory
        self._threads = threads
        self._waiting: queue.Queue[Callable[[], DeviceActivities] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="deepseek-prof-cuda", daemon=True)
        self._number = 0
        self._started = False
        self.activities = 0
        """Written so far."""
        self.busy_ns = 0
        """Processor time that reading and writing have taken."""
        self.failure: str | None = None
        """Why nothing is written any more."""

    @property
    def is_behind(self) -> bool:
        """Whether so many windows wait that no further one should begin."""
        return self._waiting.unfinished_tasks >= MAX_WAITING

    def put(self, read: Callable[[], DeviceActivities]) -> None:
        """Write the window that ``read`` gives; it is called on the writer's thread."""
        if not self._started:
            self._started = True
            self._thread.start()
        self._waiting.put(read)

    def finish(self) -> None:
        """Return once everything is written."""
        if self._started:
            self._waiting.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (read := self._waiting.get()) is not None:
            begin_ns = time.thread_time_ns()
            try:
                if self.failure is None:
                    self._write(read())
            except Exception as error:  # noqa: BLE001  # a full disk, or another Kineto: told at the end, not to the program
                self.failure = f"{type(error).__name__}: {error}"
            finally:
                read = None
                self._waiting.task_done()
                self.busy_ns += time.thread_time_ns() - begin_ns

    def _write(self, activities: DeviceActivities) -> None:
        if len(activities):
            write_activities(self._directory() / f"device-{self._number:05d}.bin", activities, self._threads())
            self._number += 1
            self.activities += len(activities)
