"""Steps, the backward phase, data-loading workers and the rank: the few places of torch that tell them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.tracebacks import leave_out_wrapper

IN_SITU_FACTOR = 1.4
"""Cost to the program of what watches its backward passes over the time that it takes: the caches have to fill again.

Measured on the tiny transformer of benchmarks/, with and without the watch in turns: 77 us a step against 53.
"""

_undo: list[Callable[[], None]] = []
_backward_watch: BackwardWatch | None = None


class BackwardWatch(Protocol):
    """Wants to know where backward passes begin."""

    def __call__(self, outputs: Any, *, accumulates: bool) -> None:
        """One begins from these tensors; ``accumulates``: by ``backward``, not by ``torch.autograd.grad``."""


class StepSink(Protocol):
    """A recorder that wants to know where steps and backward passes begin and end (the native module is one)."""

    def optimizer_made(self) -> None:
        """The program has an optimizer: steps end with it, no longer with each call of the root module."""

    def optimizer_stepped(self, optimizer: object, /) -> None:
        """This optimizer has stepped, inside its ``Optimizer.step`` scope."""

    def push_backward(self) -> None:
        """A backward pass begins on this thread."""

    def pop_phase(self) -> None:
        """The backward pass has ended."""

    def set_data_worker(self) -> None:
        """This process loads data for another one."""

    def spent(self, ns: int, /) -> None:
        """So much time was taken from the program besides records; it counts for the overhead budget."""


class StepCycle:
    """Where steps end, as ``native/step_clock.h`` decides it: with the last of a cycle of optimizers or roots."""

    def __init__(self) -> None:
        self.ends_with_root_calls = True
        self.finished = 0
        self._cycle: list[int] = []
        self._closer: int | None = None
        self._last_end_ns = 0
        self._start_ns = 0

    @property
    def running(self) -> int:
        """The step that runs now; -1 before the first."""
        if not self._start_ns:
            return -1
        return self.finished + (1 if self._closer is None and self._cycle else 0)

    def use_optimizer(self) -> None:
        """Count optimizer steps from now on."""
        if self.ends_with_root_calls:
            self.ends_with_root_calls = False
            self._cycle, self._closer = [], None

    def activity(self, start_ns: int) -> None:
        """The first layer of the program begins its first step."""
        self._start_ns = self._start_ns or start_ns

    def tick(self, key: int, end_ns: int, emit: Callable[[int, int], None]) -> None:
        """The member ``key`` has ended; ``emit(start_ns, dur_ns)`` takes each step that is thereby known to be over."""
        if self._closer is None:
            if key not in self._cycle:
                self._cycle.append(key)
                self._last_end_ns = end_ns
                return
            self._closer = self._cycle[-1]
            self._end(self._last_end_ns, emit)
        if key == self._closer:
            self._end(end_ns, emit)

    def flush(self, emit: Callable[[int, int], None]) -> None:
        """The program ends: a single step has shown no cycle."""
        if self._closer is None and self._cycle:
            self._end(self._last_end_ns, emit)

    def _end(self, end_ns: int, emit: Callable[[int, int], None]) -> None:
        start_ns = min(self._start_ns or end_ns, end_ns)
        emit(start_ns, end_ns - start_ns)
        self.finished += 1
        self._start_ns = end_ns


def install_steps(sink: StepSink) -> None:
    """Tell the recorder where steps and backward passes begin and end."""
    for tell in (sink.optimizer_made, sink.optimizer_stepped, sink.push_backward, sink.pop_phase, sink.spent):
        stays_outside(tell)

    @stays_outside
    def stepped(optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        # Not left out where Dynamo traces it: a graph that held the whole step would take the step's end with it.
        sink.optimizer_stepped(optimizer)

    _undo.append(register_optimizer_step_post_hook(stepped).remove)
    replace(torch.optim.Optimizer, "__init__", lambda original: _after(original, sink.optimizer_made), _undo)
    replace(torch.autograd, "_engine_run_backward", lambda original: _backward(original, sink), _undo)
    import torch.utils.data._utils.worker as data_worker

    replace(data_worker, "_worker_loop", lambda original: _before(original, sink.set_data_worker), _undo)
    watch_rank()


def watch_rank() -> None:
    """Note the rank as soon as the program has one (launchers without ``RANK`` in the environment)."""
    if torch.distributed.is_available():
        import torch.distributed.distributed_c10d as c10d

        for home in (torch.distributed, c10d):
            replace(home, "init_process_group", lambda original: _after(original, _note_rank), _undo)


def remove_steps() -> None:
    """Undo ``install_steps``."""
    while _undo:
        _undo.pop()()


def _note_rank() -> None:
    from deepseek_prof.collectors.child import current

    attachment = current()
    if attachment is not None and torch.distributed.is_initialized():
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if attachment.description.get("rank") != rank or attachment.description.get("world_size") != world_size:
            attachment.update(rank=rank, world_size=world_size)


def watch_backward(watch: BackwardWatch | None) -> None:
    """Tell ``watch`` where a backward pass begins; None: no more."""
    global _backward_watch
    _backward_watch = watch


def replace(
    home: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]], undo: list[Callable[[], None]]
) -> None:
    """Put ``make(original)`` in the place of ``home.name``; what undoes it is added to ``undo``."""
    original = getattr(home, name)
    ours = functools.wraps(original)(make(original))
    setattr(home, name, ours)

    def restore() -> None:
        if getattr(home, name) is ours:
            setattr(home, name, original)

    undo.append(restore)


def _after(original: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    @passes_through
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            leave_out_wrapper(error)
            raise
        then()
        return result

    return call


def _before(original: Callable[..., Any], first: Callable[[], None]) -> Callable[..., Any]:
    @passes_through
    def call(*args: Any, **kwargs: Any) -> Any:
        first()
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_wrapper(error)
            raise

    return call


def _backward(original: Callable[..., Any], sink: StepSink) -> Callable[..., Any]:
    is_compiling = torch.compiler.is_compiling

    @passes_through
    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return original(*args, **kwargs)
        sink.push_backward()
        try:
            if _backward_watch is not None and args:
                begin_ns = time.perf_counter_ns()
                _backward_watch(args[0], accumulates=bool(kwargs.get("accumulate_grad")))
                sink.spent(int((time.perf_counter_ns() - begin_ns) * IN_SITU_FACTOR))
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_wrapper(error)
            raise
        finally:
            sink.pop_phase()

    return call
