"""The fallback recorder: Kineto in windows of steps, for machines without a compiler. Writes the same run directory.

Differences from the native recorder, all of them Kineto's: threads that the program starts itself are not seen, a
killed program loses its last window (about a second), and reading a window costs 2-6 µs an event in the process.
Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch._C._autograd import _disable_profiler, _enable_profiler, _prepare_profiler, kineto_available
from torch._C._profiler import (
    ProfilerActivity,
    ProfilerConfig,
    ProfilerState,
    _ExperimentalConfig,
    _RecordFunctionFast,
)

from deepseek_prof.collectors.event_tree import BACKWARD_EVENT, LAYER_PREFIX, Event, EventTree
from deepseek_prof.collectors.layers import TRANSPARENT, LayerNames, install_layers, remove_layers
from deepseek_prof.collectors.root_inputs import RootInputs
from deepseek_prof.collectors.steps import StepCycle, install_steps, remove_steps
from deepseek_prof.errors import RecorderError
from deepseek_prof.model import Phase
from deepseek_prof.recording.live_format import ContextsLogWriter, SegmentWriter

if TYPE_CHECKING:
    from deepseek_prof.collectors.child import ChildSettings

_WINDOW_NS = 500_000_000
_BACKWARD_SCOPE, _USER_SCOPE = 1, 7  # of at::RecordScope
_OWN_EVENTS = "profiler::_record_function"


class KinetoRecorder:
    """Records through ``torch.autograd``'s Kineto binding; implements the sink of ``install_steps``."""

    name = "kineto"

    def __init__(self) -> None:
        self._frames = threading.local()
        self._writers: dict[int, SegmentWriter] = {}
        self._cycle = StepCycle()
        self._scopes: list[Any] = []
        self._window_start_ns = 0
        self._events = 0
        self._inputs = RootInputs()
        self._counted_root: int | None = None
        self._step_due = False
        self._stepped: int | None = None
        self._pid = os.getpid()
        self._thread = threading.get_ident()

    def start(self, live: Path, description: dict[str, Any], settings: ChildSettings) -> None:
        """Begin to record into the folder ``live``."""
        if settings.record == "full" or settings.overhead_budget is not None or settings.steps is not None:
            description["warnings"].append("the kineto recorder knows no --record full, --steps or --overhead-budget")
        if not kineto_available():
            raise RecorderError("this torch was built without Kineto")
        live.mkdir(mode=0o700)
        description["overhead"] = {"operator_ns": 0.0, "layer_ns": 0.0, "method": "unknown (kineto recorder)"}
        fresh = live / "process.new"
        fresh.write_text(json.dumps(description))
        fresh.replace(live / "process.json")
        self._live = live
        self._contexts = ContextsLogWriter(live / "contexts.log")
        self._steps = SegmentWriter(live, "steps", self._pid, 0, size_bytes=1 << 16)
        self._tree = EventTree(self._contexts.context, self._write)
        self._names = LayerNames(self._forget)
        self._open_window()
        install_layers(self._push_layer, self._pop_layer, self._names)
        install_steps(self)
        os.register_at_fork(after_in_child=self._after_fork)

    def position(self) -> tuple[int, int, str]:
        """Where the calling thread is: the running step or -1, a Phase's code, the innermost layer or ''."""
        stack = self._stack()
        phase = Phase.BACKWARD if self._scopes else Phase.FORWARD if stack else Phase.OTHER
        return self._cycle.running, phase, stack[-1][2] if stack else ""

    def stop(self) -> dict[str, Any]:
        """Write the last window and end the recording."""
        remove_layers()
        remove_steps()
        self._close_window()
        self._cycle.flush(self._emit_step)
        for writer in [*self._writers.values(), self._steps]:
            writer.close()
        self._contexts.close()
        return {"events": self._events, "steps": self._cycle.finished, "dropped_spans": 0}

    def _after_fork(self) -> None:
        # Kineto does not survive a fork, and the mapped segments are the parent's.
        self._writers = {}
        self._window_start_ns = 0
        remove_layers()
        remove_steps()

    def _open_window(self) -> None:
        config = ProfilerConfig(ProfilerState.KINETO, False, False, False, False, False, _ExperimentalConfig())
        _prepare_profiler(config, {ProfilerActivity.CPU})
        _enable_profiler(config, {ProfilerActivity.CPU})
        self._window_start_ns = time.monotonic_ns()

    def _close_window(self) -> None:
        if not self._window_start_ns:
            return
        self._window_start_ns = 0
        result = _disable_profiler()
        # Kineto tells Unix time; segments hold the monotonic clock.
        offset_ns = time.time_ns() - time.monotonic_ns()
        events = [
            Event(
                event.name(),
                event.start_ns() - offset_ns,
                event.duration_ns(),
                event.start_thread_id(),
                event.sequence_nr(),
                event.fwd_thread_id(),
                event.scope() == _USER_SCOPE,
                event.scope() == _BACKWARD_SCOPE,
            )
            for event in result.events()
            if not event.name().startswith(_OWN_EVENTS)
        ]
        self._events += len(events)
        self._tree.add(events)

    def _write(self, thread: int, start_ns: int, dur_ns: int, self_ns: int, context: int) -> None:
        writer = self._writers.get(thread)
        if writer is None:
            tid = self._pid if thread == 1 else thread
            writer = self._writers[thread] = SegmentWriter(self._live, f"t{thread}", self._pid, tid)
        writer.append(start_ns, dur_ns, self_ns, context)

    def _emit_step(self, start_ns: int, dur_ns: int) -> None:
        self._steps.append(start_ns, dur_ns, dur_ns, 0)
        self._step_due = True

    def _stack(self) -> list[tuple[Any, int, str]]:
        stack: list[tuple[Any, int, str]] | None = getattr(self._frames, "stack", None)
        if stack is None:
            stack = self._frames.stack = []
        return stack

    def _push_layer(self, module: torch.nn.Module) -> bool:
        stack = self._stack()
        if not stack and threading.get_ident() == self._thread:
            # Between two calls of the root no frame of the program's forward is open: the place to change windows.
            if self._step_due and time.monotonic_ns() - self._window_start_ns > _WINDOW_NS and not self._scopes:
                self._close_window()
                self._open_window()
                self._step_due = False
            self._cycle.activity(time.monotonic_ns())
        parent, outer = (stack[-1][1], stack[-1][2]) if stack else (0, "")
        how, text, _ = self._names.resolve(parent, outer, module)
        if not stack and self._counted_root in (None, id(module)):
            self._counted_root = id(module) if self._inputs.note(module, 1, depth=2) else None
        scope = None
        if how != TRANSPARENT:
            scope = _RecordFunctionFast(LAYER_PREFIX + text)
            scope.__enter__()
        stack.append((scope, id(module), "" if how else text))
        return True

    def _pop_layer(self) -> None:
        stack = self._stack()
        scope, address, _ = stack.pop()
        if scope is not None:
            scope.__exit__(None, None, None)
        if not stack and self._cycle.ends_with_root_calls:
            self._cycle.tick(address, time.monotonic_ns(), self._emit_step)

    def _forget(self, address: int) -> None:
        """Names are resolved at every call here, so there is nothing else to forget."""
        if address == self._counted_root:
            self._counted_root = None

    def push_backward(self) -> None:
        """Open the backward phase."""
        scope = _RecordFunctionFast(BACKWARD_EVENT)
        scope.__enter__()
        self._scopes.append(scope)

    def pop_phase(self) -> None:
        """Close the backward phase."""
        self._scopes.pop().__exit__(None, None, None)

    def optimizer_made(self) -> None:
        """Steps end with the optimizer from now on."""
        self._cycle.use_optimizer()

    def optimizer_stepped(self, optimizer: object) -> None:
        """A step of this optimizer has ended."""
        self._cycle.use_optimizer()
        self._cycle.tick(id(optimizer), time.monotonic_ns(), self._emit_step)

    def spent(self, _: int) -> None:
        """It keeps no budget."""

    def set_data_worker(self) -> None:
        """Workers are forks or spawned processes: a fork is not recorded, a spawned one records as any process."""
