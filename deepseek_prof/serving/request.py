"""One request: its arguments, what it may share a batch with, and its future, which ends exactly once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

from deepseek_prof.serving.batching import Inputs


class Request:
    """A call of the model on its way to its result.

    The worker, the clock of deadlines and the caller may all end it; whoever comes first does. The lock is never held
    while the future runs its callbacks.
    """

    def __init__(self, inputs: Inputs, deadline_s: float | None) -> None:
        self.key = inputs.key
        self.rows = inputs.rows
        self.queued_s = time.monotonic()
        self.deadline_s = deadline_s
        """Seconds that it may take in all, or None."""
        self.future: Future[Any] = Future()
        self.waits = False
        """Whether it stands in the line, which keeps this."""
        self._inputs: Inputs | None = inputs
        self._lock = threading.Lock()
        self._running = False
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self._ended

    def start(self) -> Inputs | None:
        """Claim it for the model, after which it cannot be cancelled any more; None where it has ended."""
        with self._lock:
            return self._inputs if self._claim() else None

    def finish(self, result: Any) -> None:
        """End with a result, unless it has ended."""
        if self._end():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended."""
        if self._end():
            self.future.set_exception(error)

    def release(self) -> None:
        """Let go of the arguments: who keeps the future keeps this, perhaps for long."""
        self._inputs = None

    def _claim(self) -> bool:
        if not self._ended and not self._running:
            self._running = self.future.set_running_or_notify_cancel()
            self._ended = not self._running
        return not self._ended

    def _end(self) -> bool:
        with self._lock:
            ends = self._claim()
            self._ended = True
            return ends
