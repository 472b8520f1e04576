"""``--cuda events``: the device time of steps and layers from ``torch.cuda.Event`` pairs, light enough to be always on.

Events come from a pool and are read once the device has passed them; the program never waits for it after the first
step. Every step is timed; the forward of its layers on every ``LAYERS_EVERY``-th one. What is written are names around
work on a stream, without time of their own.
Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from deepseek_prof.collectors.cuda_activities import ActivityWriter
from deepseek_prof.collectors.dynamo import stays_outside
from deepseek_prof.recording.device_format import MARK, DeviceActivities

if TYPE_CHECKING:
    from deepseek_prof.collectors.child import Attachment
    from deepseek_prof.collectors.cuda import Watched

LAYERS_EVERY = 16
"""A layer's pair costs microseconds, those of a step's layers a hundredth of it: on every 16th that is nothing."""
MAX_PENDING = 1 << 14
"""Events that the device may still have to pass; past it no layer is timed, so that memory is bounded."""
_FLUSH_ROWS = 1 << 14
_CATEGORY = "gpu_user_annotation"
_STREAM = 0


class TimedEvent(Protocol):
    """What is used of ``torch.cuda.Event``."""

    def record(self) -> None:
        """Put the event behind what the current stream has to do."""

    def query(self) -> bool:
        """Whether the device has passed it."""

    def synchronize(self) -> None:
        """Wait until it has."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from this event to a later one."""


class EventPool:
    """Events that are used again."""

    def __init__(self, make: Callable[[], TimedEvent]) -> None:
        self._make = make
        self._free: list[TimedEvent] = []
        self.made = 0

    def take(self) -> TimedEvent:
        """A free event, or a new one."""
        if self._free:
            return self._free.pop()
        self.made += 1
        return self._make()

    def give(self, event: TimedEvent) -> None:
        """The event is free again."""
        self._free.append(event)


@dataclass
class _Layer:
    name: str
    began_ns: int
    """When the host began it, CLOCK_MONOTONIC."""
    begin: TimedEvent
    end: TimedEvent


@dataclass
class _Step:
    began_ns: int
    begin: TimedEvent
    layers: list[_Layer] = field(default_factory=list)


class StepTimer:
    """Turns events of steps and layers into activities, oldest first, without waiting for any of them."""

    def __init__(self, pool: EventPool) -> None:
        self._pool = pool
        self._steps: deque[_Step] = deque()
        self._open: list[_Layer | None] = []
        self._base_ns = 0.0
        self._correlation = 0
        self._pending = 0

    def step(self, now_ns: Callable[[], int]) -> None:
        """A step begins here."""
        event = self._pool.take()
        event.record()
        if not self._steps:
            # Once: from here on the times of the device are known by their distances.
            event.synchronize()
            self._base_ns = float(now_ns())
        self._steps.append(_Step(now_ns(), event))
        self._pending += 1

    def enter(self, name: str, now_ns: int) -> None:
        """A layer of the running step begins."""
        if not self._steps or self._pending > MAX_PENDING:
            self._open.append(None)
            return
        layer = _Layer(name, now_ns, self._pool.take(), self._pool.take())
        layer.begin.record()
        self._open.append(layer)

    def leave(self) -> None:
        """The innermost layer ends."""
        layer = self._open.pop() if self._open else None
        if layer is not None:
            layer.end.record()
            self._steps[-1].layers.append(layer)
            self._pending += 2

    def read(self, activities: DeviceActivities, device: int, tid: int) -> None:
        """Add the steps that the device has passed to ``activities``; ``tid`` is the host thread that ran them."""
        while len(self._steps) > 1 and self._is_passed(self._steps[0], self._steps[1]):
            step, following = self._steps.popleft(), self._steps[0]
            length_ns = step.begin.elapsed_time(following.begin) * 1e6
            self._add(activities, "step", step.began_ns, tid, self._base_ns, length_ns, device)
            for layer in step.layers:
                start_ns = self._base_ns + step.begin.elapsed_time(layer.begin) * 1e6
                dur_ns = layer.begin.elapsed_time(layer.end) * 1e6
                self._add(activities, layer.name, layer.began_ns, tid, start_ns, dur_ns, device)
                self._pool.give(layer.begin)
                self._pool.give(layer.end)
            self._pool.give(step.begin)
            self._base_ns += length_ns
            self._pending -= 1 + 2 * len(step.layers)

    @staticmethod
    def _is_passed(step: _Step, following: _Step) -> bool:
        """Layers are asked too: they may be on streams of their own."""
        return following.begin.query() and all(each.begin.query() and each.end.query() for each in step.layers)

    def _add(
        self,
        activities: DeviceActivities,
        name: str,
        began_ns: int,
        tid: int,
        start_ns: float,
        dur_ns: float,
        device: int,
    ) -> None:
        self._correlation += 1
        activities.append(MARK, "", began_ns, 0, self._correlation, -1, tid)
        activities.append(_CATEGORY, name, round(start_ns), max(round(dur_ns), 0), self._correlation, device, _STREAM)


class CudaEvents:
    """Times the steps and layers of one process, those that run on the thread of its first root module."""

    def __init__(self, attachment: Attachment, native: Watched) -> None:
        self._attachment = attachment
        self._native = native
        self._range = attachment.settings.steps
        self._pool = EventPool(lambda: torch.cuda.Event(enable_timing=True))
        self._timer = StepTimer(self._pool)
        self._writer = ActivityWriter(lambda: attachment.directory, dict)
        self._activities = DeviceActivities()
        self._owner: int | None = None
        self._device = 0
        self._step = -1
        self._steps = 0
        self._pid = os.getpid()

    def begin(self) -> None:
        """Time from the next call of a root module on; called once the program has initialised CUDA."""
        if os.getpid() == self._pid:
            stays_outside(self.tick)
            stays_outside(self._layer)
            self._native.watch_roots(self.tick)

    def tick(self) -> None:
        """Before a call of a root module: where a step may begin."""
        thread = threading.get_ident()
        if (self._owner or thread) != thread or os.getpid() != self._pid:
            return
        step = max(self._attachment.position()[0], 0)
        if step == self._step or torch.cuda.is_current_stream_capturing():
            return
        try:
            if self._owner is None:
                self._owner, self._device = thread, torch.cuda.current_device()
            self._begin_step(step)
        except Exception as error:  # noqa: BLE001  # a device that has failed; the program goes on, or tells it itself
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._native.watch_roots(None)
        self._native.watch_layers(None)
        self._attachment.warn(f"CUDA events are no longer recorded: {type(error).__name__}: {error}")

    def stop(self) -> dict[str, Any]:
        """Write what the device has passed; returns what process.json gains."""
        self._native.watch_roots(None)
        self._native.watch_layers(None)
        if os.getpid() != self._pid:
            return {}  # the parent's
        if self._owner is not None:
            try:
                self._read()
            except RuntimeError as error:  # a device that has failed has no events any more
                self._attachment.warn(f"the last CUDA events are missing: {error}")
            self._flush()
        self._writer.finish()
        if self._writer.failure is not None:
            self._attachment.warn(f"CUDA events are recorded in part: {self._writer.failure}")
        return {"cuda_recording": {"source": "events", "steps": self._steps, "events": self._pool.made}}

    def _begin_step(self, step: int) -> None:
        self._step = step
        wanted = self._range is None or self._range[0] <= step <= self._range[1] + 1  # its end is the next one's begin
        if not wanted:
            self._native.watch_layers(None)
            return
        self._steps += 1
        self._timer.step(time.monotonic_ns)
        self._native.watch_layers(self._layer if step % LAYERS_EVERY == 0 else None)
        self._read()
        if len(self._activities) >= _FLUSH_ROWS:
            self._flush()

    def _layer(self, entering: bool) -> None:
        if threading.get_ident() != self._owner or torch.cuda.is_current_stream_capturing():
            return
        try:
            if entering:
                # By the recorder's own clock the layer has begun now, and nothing in it has.
                self._timer.enter(self._attachment.position()[2], self._native.clock_ns())
            else:
                self._timer.leave()
        except Exception as error:  # noqa: BLE001  # as in tick; or a layer on another device than its event was
            self._give_up(error)

    def _read(self) -> None:
        self._timer.read(self._activities, self._device, threading.get_native_id())

    def _flush(self) -> None:
        done, self._activities = self._activities, DeviceActivities()
        self._writer.put(lambda: done)
