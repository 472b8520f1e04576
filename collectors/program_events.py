"""Events that the program causes without knowing: waits for data, graph breaks, memory that ran out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from deepseek_prof.collectors.dynamo import stays_outside

Emit = Callable[[str, str, Mapping[str, Any]], None]

STALL_NS = 10_000_000
"""A shorter wait for a batch is no stall."""
_SECOND_NS = 1_000_000_000


class Rate:
    """Lets one event a second through and counts the others."""

    def __init__(self) -> None:
        self._next_ns = 0
        self._skipped = 0

    def passes(self) -> int | None:
        """How many events were left out since the last one that passed; None for one that is left out itself."""
        now_ns = time.monotonic_ns()
        if now_ns < self._next_ns:
            self._skipped += 1
            return None
        self._next_ns = now_ns + _SECOND_NS
        skipped, self._skipped = self._skipped, 0
        return skipped


class StallWatch:
    """Tells when the program waits longer for a batch than it works on one. The first batch of a loader is left out."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._rate = Rate()

    @stays_outside
    def waited(self, iterator: Any, begin_ns: int, end_ns: int) -> None:
        """The iterator of a data loader has given a batch."""
        last_ns = iterator.__dict__.get("_deepseek_prof_last_ns", 0)
        iterator.__dict__["_deepseek_prof_last_ns"] = end_ns
        wait_ns = end_ns - begin_ns
        if not last_ns or wait_ns < STALL_NS or wait_ns < begin_ns - last_ns:
            return
        skipped = self._rate.passes()
        if skipped is not None:
            fields = {
                "message": "waited longer for a batch than it took to work on the one before",
                "wait_ns": wait_ns,
                "work_ns": begin_ns - last_ns,
                "workers": int(getattr(iterator, "_num_workers", 0)),
            }
            self._emit("warning", "dataloader_stall", fields | ({"left_out": skipped} if skipped else {}))


class MemoryWatch:
    """Tells when memory ran out, once an exception."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._last: int = 0

    @stays_outside
    def raised(self, error: BaseException | None) -> None:
        """An exception passes through a layer or a backward pass, or has ended the program."""
        if isinstance(error, (RuntimeError, MemoryError)) and id(error) != self._last and is_out_of_memory(error):
            self._last = id(error)
            self._emit("error", "oom", {"message": str(error), "exception": type(error).__name__})


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's or the computer's memory was not enough."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


class CompileWatch:
    """Tells graph breaks and recompilations, from torch.compile's own counters after each compilation."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._breaks: dict[str, int] = {}
        self._undo: Callable[[], None] | None = None

    def install(self) -> None:
        """To be called when ``torch._dynamo`` has been imported."""
        callback = getattr(sys.modules.get("torch._dynamo.callback"), "callback_handler", None)
        counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", None)
        if callback is None or counters is None or not hasattr(callback, "register_end_callback"):
            self._emit(
                "warning", "collector_failed", {"message": "this torch tells no graph breaks and recompilations"}
            )
            return

        @stays_outside
        def compiled(arguments: Any) -> None:
            self._breaks_in(counters)
            self._compiled(str(getattr(arguments, "compile_id", "") or ""))

        callback.register_end_callback(compiled)

        def undo() -> None:
            self._breaks_in(counters)
            if compiled in callback.end_callbacks:
                callback.remove_end_callback(compiled)

        self._undo = undo

    def remove(self) -> None:
        """Tell the last graph breaks, and hear no more."""
        if self._undo is not None:
            self._undo()
            self._undo = None

    def _breaks_in(self, counters: Mapping[str, Mapping[str, int]]) -> None:
        for reason, count in dict(counters.get("graph_break", {})).items():
            new = count - self._breaks.get(reason, 0)
            self._breaks[reason] = count
            if new > 0:
                fields = {"message": str(reason).split("\n", 1)[0], "reason": str(reason), "count": new}
                self._emit("warning", "graph_break", fields)

    def _compiled(self, compile_id: str) -> None:
        # "frame/times": 0/0 is the first time for the first function.
        frame, slash, times = compile_id.rpartition("/")
        if slash and times.split("_")[0].isdecimal() and int(times.split("_")[0]) > 0:
            fields = {"message": f"function {frame} was compiled once more", "compile_id": compile_id}
            self._emit("warning", "recompile", fields)
