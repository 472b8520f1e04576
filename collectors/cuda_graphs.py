"""Which CUDA graph was captured when, and replayed when: what ties the work of a replay to the layers of its capture.

The driver counts all work of a replay for the one call that starts it. PyTorch knows which graph that was.
Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import torch

from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.steps import replace
from deepseek_prof.collectors.tracebacks import leave_out_wrapper


class GraphMark(NamedTuple):
    """A capture or a replay of the graph ``number``; times are nanoseconds, CLOCK_MONOTONIC."""

    is_capture: bool
    number: int
    tid: int
    start_ns: int
    end_ns: int


class GraphWatch:
    """Notes captures and replays of ``torch.cuda.CUDAGraph``, which all of PyTorch's own graphs go through.

    Args:
        is_open: whether a window is open now. Outside of windows nothing is noted.
        before_capture: called before each capture.
        before_replay: called before each replay.
    """

    def __init__(
        self, is_open: Callable[[], bool], before_capture: Callable[[], None], before_replay: Callable[[], None]
    ) -> None:
        self._is_open = is_open
        self._before_capture = before_capture
        self._before_replay = before_replay
        self._window = 0
        self._marks: list[GraphMark] = []
        self._next = count(1)
        # Each capture has a number of its own, also of a graph that is captured again.
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._begun: WeakKeyDictionary[Any, tuple[int, int]] = WeakKeyDictionary()
        self._under_way: WeakSet[Any] = WeakSet()

    def begin(self, undo: list[Callable[[], None]]) -> None:
        """Watch from now on; what ends it is added to ``undo``."""
        graph = getattr(torch.cuda, "CUDAGraph", None)
        if graph is None:
            return
        ours: tuple[Callable[..., None], ...] = (
            self._capture_begins,
            self._capture_began,
            self._capture_ended,
            self._replay_begins,
            self._replayed,
        )
        for function in ours:
            stays_outside(function)
        replace(
            graph, "capture_begin", lambda original: _around(original, self._capture_begins, self._capture_began), undo
        )
        replace(graph, "capture_end", lambda original: _around(original, None, self._capture_ended), undo)
        replace(graph, "replay", lambda original: _around(original, self._replay_begins, self._replayed), undo)

    @property
    def is_capturing(self) -> bool:
        """Whether any thread captures: to wait for the device would break that."""
        return len(self._under_way) > 0

    def take(self) -> list[GraphMark]:
        """The marks of the window that ends now. A capture that has not ended belongs to no window."""
        self._window += 1
        marks, self._marks = self._marks, []
        return marks

    def _capture_begins(self, graph: Any) -> None:
        self._before_capture()
        self._numbers[graph] = next(self._next)
        self._begun.pop(graph, None)
        self._under_way.add(graph)
        if self._is_open():
            self._begun[graph] = self._window, time.monotonic_ns()

    def _capture_began(self, graph: Any, _: int, failed: bool) -> None:
        if failed:
            self._under_way.discard(graph)

    def _capture_ended(self, graph: Any, _: int, failed: bool) -> None:
        self._under_way.discard(graph)
        window, start_ns = self._begun.pop(graph, (-1, 0))
        if not failed and window == self._window and self._is_open():
            self._note(graph, start_ns, is_capture=True)

    def _replay_begins(self, _: Any) -> None:
        self._before_replay()

    def _replayed(self, graph: Any, start_ns: int, failed: bool) -> None:
        if not failed and graph in self._numbers and self._is_open():
            self._note(graph, start_ns, is_capture=False)

    def _note(self, graph: Any, start_ns: int, *, is_capture: bool) -> None:
        tid = threading.get_native_id()
        self._marks.append(GraphMark(is_capture, self._numbers[graph], tid, start_ns, time.monotonic_ns()))


def _around(
    original: Callable[..., Any],
    before: Callable[[Any], None] | None,
    after: Callable[[Any, int, bool], None],
) -> Callable[..., Any]:
    """``after`` is told when the call itself began, and whether it failed."""

    @passes_through
    def call(graph: Any, *args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(graph)
        start_ns = time.monotonic_ns()
        try:
            result = original(graph, *args, **kwargs)
        except BaseException as error:
            after(graph, start_ns, True)
            leave_out_wrapper(error)
            raise
        after(graph, start_ns, False)
        return result

    return call
