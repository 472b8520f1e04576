"""Work on CUDA devices: kernels, copies, memsets, synchronisations, through Kineto with CUDA activities only.

The native recorder goes on to record operators; a window adds nothing to them but what CUPTI costs. Windows change
between two calls of the root module, where no frame of the program's forward is open. Nothing begins before the program
itself initialises CUDA, so that programs without it pay nothing and may fork as they like.
Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch._C._autograd import kineto_available

from deepseek_prof.collectors.cuda_activities import ActivityWriter, read_events
from deepseek_prof.collectors.cuda_events import CudaEvents
from deepseek_prof.collectors.cuda_graphs import GraphWatch
from deepseek_prof.collectors.cuda_kineto import KinetoCuda
from deepseek_prof.collectors.cuda_windows import WindowPlan
from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.steps import replace
from deepseek_prof.collectors.tracebacks import leave_out_wrapper
from deepseek_prof.errors import RecorderError
from deepseek_prof.recording.device_format import HANDLE_MASK

if TYPE_CHECKING:
    from deepseek_prof.collectors.child import Attachment

AUTO_BUDGET = 0.03
"""Of the program's time that windows may take unless kernels or a budget are asked for."""
_THREADS_A_HANDLE = 64
"""So many threads of one handle are told with a window; those before have hardly anything in it."""


class Watched(Protocol):
    """What the native recorder offers to those who record beside it."""

    def watch_roots(self, callback: Callable[[], None] | None, /) -> None:
        """Call ``callback`` before each call of a root module, on its thread."""

    def watch_layers(self, callback: Callable[[bool], None] | None, /) -> None:
        """Call ``callback`` with True in each layer that has begun, with False in each that is about to end."""

    def clock_ns(self) -> int:
        """The time as this thread's records have it: nanoseconds, CLOCK_MONOTONIC."""

    def thread_ids(self) -> list[tuple[int, int]]:
        """The thread id and ``pthread_self()`` of each thread that has recorded."""


class Profiler(Protocol):
    """A source of windows: Kineto, and in tests a stand-in for what needs a device."""

    def open(self) -> None:
        """Begin a window."""

    def settle(self) -> None:
        """Wait until all work that was launched in the window is done."""

    def close(self, *, last: bool) -> Any:
        """End it, from whatever thread; what has its ``events()``."""


class CudaRecorder:
    """Records the windows of one process into its live folder."""

    def __init__(self, attachment: Attachment, native: Watched, profiler: Profiler, *, with_metadata: bool) -> None:
        settings = attachment.settings
        self._attachment = attachment
        self._native = native
        self._profiler = profiler
        self._with_metadata = with_metadata
        budget = settings.overhead_budget
        if budget is None and settings.cuda == "auto":
            budget = AUTO_BUDGET
        self._plan = WindowPlan(settings.steps, budget, time.monotonic_ns())
        self._writer = ActivityWriter(lambda: attachment.directory, self._threads)
        # A loop that only replays a graph calls no module: so a replay is a place where windows change, too.
        self._graphs = GraphWatch(lambda: self._plan.is_open, self._before_capture, self.tick)
        # Reentrant: a signal's handler may begin the program's own profiler.
        self._changing = threading.RLock()
        self._aside = False
        self._failed = False
        self._windows = 0
        self._skipped = 0
        self._counted_ns = 0
        self._undo: list[Callable[[], None]] = []
        self._pid = os.getpid()

    def begin(self) -> None:
        """Record from the next call of a root module on; called once the program has initialised CUDA."""
        if os.getpid() != self._pid or self._failed:
            return
        stays_outside(self.tick)
        self._native.watch_roots(self.tick)
        self._undo.append(lambda: self._native.watch_roots(None))
        profiler = torch.autograd.profiler
        for name in ("_prepare_profiler", "_enable_profiler"):
            replace(profiler, name, lambda original: self._around(original, self._step_aside, None), self._undo)
        replace(profiler, "_disable_profiler", lambda original: self._around(original, None, self._resume), self._undo)
        self._graphs.begin(self._undo)

    def tick(self) -> None:
        """A place where windows may change; any thread may come here."""
        self._change(for_capture=False)

    def _before_capture(self) -> None:
        self._change(for_capture=True)

    def _change(self, *, for_capture: bool) -> None:
        if self._rests():
            return
        step = self._attachment.position()[0]
        now_ns = time.monotonic_ns()
        if not self._plan.wants_close(step, now_ns) and not self._plan.wants_open(
            step, now_ns, for_capture=for_capture
        ):
            return
        if self._graphs.is_capturing or torch.cuda.is_current_stream_capturing():
            return  # to wait for the device would break the capture
        if not self._changing.acquire(blocking=False):
            return  # another thread is at it
        try:
            if self._rests():
                return
            if self._plan.wants_close(step, now_ns):
                self._close(last=self._plan.is_over(step))
            self._open(step, for_capture=for_capture)
        except Exception as error:  # noqa: BLE001  # whatever CUPTI or the driver cannot do here; the program goes on
            self._give_up(error)
        finally:
            self._changing.release()

    def _rests(self) -> bool:
        return self._aside or self._failed or os.getpid() != self._pid

    def stop(self) -> dict[str, Any]:
        """Write the last window and record no more; returns what process.json gains."""
        while self._undo:
            self._undo.pop()()
        if os.getpid() != self._pid:
            return {}  # the parent's
        with self._changing:
            self._close_if_open(last=True)
        self._writer.finish()
        if self._writer.failure is not None:
            self._attachment.warn(f"CUDA work is recorded in part: {self._writer.failure}")
        return {
            "cuda_recording": {
                "source": "kineto",
                "windows": self._windows,
                "skipped_windows": self._skipped,
                "activities": self._writer.activities,
                "own_ns": self._plan.spent_ns,
                "reading_ns": self._writer.busy_ns,
            }
        }

    def _open(self, step: int, *, for_capture: bool) -> None:
        self._count_reading()
        begin_ns = time.monotonic_ns()
        within_budget = self._plan.wants_open(step, begin_ns)
        if not within_budget and not self._plan.wants_open(step, begin_ns, for_capture=for_capture):
            return
        if self._writer.is_behind:
            self._skipped += 1
            return
        self._profiler.open()
        self._plan.opened(step, time.monotonic_ns(), for_capture=not within_budget)
        self._plan.spend(time.monotonic_ns() - begin_ns)

    def _close(self, *, last: bool) -> None:
        self._plan.closed()
        marks = self._graphs.take()
        try:
            self._profiler.settle()  # the time of work that had to be done anyway
        finally:  # the device may have failed, or Ctrl-C come meanwhile: the program's own profiler still needs Kineto
            begin_ns = time.monotonic_ns()
            result = self._profiler.close(last=last)
        # Kineto tells Unix time; live files hold the monotonic clock.
        offset_ns = time.time_ns() - time.monotonic_ns()
        self._writer.put(lambda: read_events(result.events(), offset_ns, marks, with_metadata=self._with_metadata))
        self._windows += 1
        self._plan.spend(time.monotonic_ns() - begin_ns)

    def _close_if_open(self, *, last: bool) -> None:
        if self._plan.is_open:
            try:
                self._close(last=last)
            except Exception as error:  # noqa: BLE001  # as in tick
                self._give_up(error)

    def _count_reading(self) -> None:
        """What the writer's thread has taken from the program, which waits for the same interpreter lock."""
        busy_ns = self._writer.busy_ns
        self._plan.spend(busy_ns - self._counted_ns)
        self._counted_ns = busy_ns

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        self._plan.closed()
        self._attachment.warn(f"CUDA work is no longer recorded: {type(error).__name__}: {error}")

    def _threads(self) -> dict[int, list[int]]:
        """By handle, which the system gives to one thread after another, the latest first."""
        found: dict[int, list[int]] = {}
        for tid, handle in reversed(self._native.thread_ids()):
            tids = found.setdefault(handle & HANDLE_MASK, [])
            if len(tids) < _THREADS_A_HANDLE:
                tids.append(tid)
        return found

    # --- the program's own profiler

    def _around(
        self,
        original: Callable[..., Any],
        before: Callable[[], None] | None,
        after: Callable[[], None] | None,
    ) -> Callable[..., Any]:
        @passes_through
        def call(*args: Any, **kwargs: Any) -> Any:
            if before is not None:
                before()
            try:
                return original(*args, **kwargs)
            except BaseException as error:
                leave_out_wrapper(error)
                raise
            finally:
                if after is not None:
                    after()

        return call

    def _step_aside(self) -> None:
        """There is one Kineto in a process, and the program's own profiler gets it."""
        if self._aside or os.getpid() != self._pid:
            return
        with self._changing:
            self._aside = True
            self._close_if_open(last=False)
        self._tell("cuda_recording_paused", "the program's own profiler runs: CUDA work is not recorded meanwhile")

    def _resume(self) -> None:
        if self._aside:
            self._aside = False
            self._tell("cuda_recording_resumed", "the program's own profiler has ended: CUDA work is recorded again")

    def _tell(self, event: str, message: str) -> None:
        if self._attachment.events is not None:
            self._attachment.events.log.emit("info", event, {"message": message})


CudaSource = CudaRecorder | CudaEvents


def watch_cuda(attachment: Attachment, native: Watched) -> CudaSource | None:
    """Record CUDA work as the settings ask for it, from when the program initialises CUDA; None where it cannot be.

    Raises:
        RecorderError: kernels were asked for, and this torch cannot tell them.
    """
    mode = attachment.settings.cuda
    if mode == "off" or not (torch.version.cuda or torch.version.hip):
        if mode in ("kernels", "events"):
            raise RecorderError(f"--cuda {mode}: this torch was built without CUDA")
        return None
    source: CudaSource
    if mode == "events":
        source = CudaEvents(attachment, native)
    elif kineto_available():
        with_metadata = attachment.settings.record == "full"
        profiler = KinetoCuda(with_metadata=with_metadata)
        source = CudaRecorder(attachment, native, profiler, with_metadata=with_metadata)
    else:
        raise RecorderError(f"--cuda {mode}: this torch was built without Kineto")

    def initialised() -> None:
        try:
            source.begin()
            # What the figures of `deepseek-prof gpu` are compared with.
            names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
            attachment.update(devices=names)
        except Exception as error:  # noqa: BLE001  # raised here, it would fail the program's own use of CUDA
            attachment.warn(f"no CUDA work is recorded: {type(error).__name__}: {error}")

    # Called at once where CUDA is initialised already.
    torch.cuda._lazy_call(initialised)
    return source
