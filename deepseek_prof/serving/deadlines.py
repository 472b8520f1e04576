"""A clock that ends requests at their deadlines, whatever the model does meanwhile."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from weakref import ReferenceType, ref

from deepseek_prof.errors import DeadlineExceededError
from deepseek_prof.serving.request import Request


class Deadlines:
    """One thread for all requests with a deadline; it starts with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # The number settles ties. Weak, since most requests end well before their deadline.
        self._coming: list[tuple[float, int, ReferenceType[Request]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def watch(self, request: Request) -> None:
        """End the request with DeadlineExceededError once its time is over; nothing where it has no deadline."""
        if request.deadline_s is None:
            return
        moment_s = request.queued_s + request.deadline_s
        with self._changed:
            heapq.heappush(self._coming, (moment_s, next(self._numbers), ref(request)))
            if self._thread is None:
                self._start()
            elif self._coming[0][0] == moment_s:
                self._changed.notify()

    def close(self) -> None:
        """End the thread; deadlines pass unnoticed from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (due := self._next()) is not None:
            request = due()
            if request is not None:
                try:
                    request.fail(DeadlineExceededError(f"No result within the deadline of {request.deadline_s} s."))
                except BaseException:
                    # A callback of a future that exits ends this thread: the other deadlines need another one.
                    with self._changed:
                        self._start()
                    raise

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="deepseek-prof deadlines", daemon=True)
        self._thread.start()

    def _next(self) -> ReferenceType[Request] | None:
        """Wait for the next deadline; None once closed."""
        with self._changed:
            while not self._closed:
                wait_s = self._coming[0][0] - time.monotonic() if self._coming else None
                if wait_s is not None and wait_s <= 0:
                    return heapq.heappop(self._coming)[2]
                self._changed.wait(None if wait_s is None else min(wait_s, threading.TIMEOUT_MAX))
            return None
