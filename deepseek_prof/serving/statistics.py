"""What a batcher has done so far, counted while it works."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from deepseek_prof.errors import BatcherClosedError, DeadlineExceededError

RECENT_WAITS = 4096


@dataclass(frozen=True)
class Statistics:
    """Requests since the batcher was made.

    Every accepted one ends as exactly one of ``finished``, ``failed``, ``cancelled``, ``expired`` and ``closed``.
    """

    accepted: int
    rejected: int
    """Refused at once because the queue was full."""
    finished: int
    failed: int
    """Ended by an error of the model or of its result."""
    cancelled: int
    expired: int
    """Ended by their deadline."""
    closed: int
    """Waiting when the batcher was closed without draining."""
    waiting: int
    """In the queue now."""
    most_waiting: int
    batches: Mapping[int, int]
    """Number of batches by their rows; those of single requests after a failed batch too."""
    failed_batches: int
    """Batches of several requests that failed, whose requests were then run one by one."""
    wait_p50_s: float | None
    """Time from a request to the start of its batch, over the last :data:`RECENT_WAITS` that started; None before the
    first."""
    wait_p99_s: float | None

    @property
    def pending(self) -> int:
        """Accepted and not ended: waiting or running."""
        return self.accepted - self.finished - self.failed - self.cancelled - self.expired - self.closed


class Counts:
    """The counters behind :class:`Statistics`; safe on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._batches: Counter[int] = Counter()
        self._waits_s: deque[float] = deque(maxlen=RECENT_WAITS)

    def add(self, what: str) -> None:
        """Count one ``accepted``, ``rejected`` or ``failed_batches``."""
        with self._lock:
            self._counts[what] += 1

    def started(self, waits_s: list[float]) -> None:
        """Count the waits of the requests of a new batch."""
        with self._lock:
            self._waits_s.extend(waits_s)

    def ran(self, rows: int) -> None:
        """Count a call of the model."""
        with self._lock:
            self._batches[rows] += 1

    def ended(self, future: Future[Any]) -> None:
        """Count a request by how its future ended."""
        self.add(_outcome(future))

    def snapshot(self, waiting: int, most_waiting: int) -> Statistics:
        """The figures of this moment."""
        with self._lock:
            waits_s = sorted(self._waits_s)
            counts, batches = Counter(self._counts), dict(sorted(self._batches.items()))
        return Statistics(
            **{name: counts[name] for name in _COUNTED},
            waiting=waiting,
            most_waiting=most_waiting,
            batches=batches,
            wait_p50_s=_quantile(waits_s, 0.50),
            wait_p99_s=_quantile(waits_s, 0.99),
        )


_COUNTED = ("accepted", "rejected", "finished", "failed", "cancelled", "expired", "closed", "failed_batches")


def _outcome(future: Future[Any]) -> str:
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    if error is None:
        return "finished"
    if isinstance(error, DeadlineExceededError):
        return "expired"
    return "closed" if isinstance(error, BatcherClosedError) else "failed"


def _quantile(ordered: list[float], part: float) -> float | None:
    return ordered[round(part * (len(ordered) - 1))] if ordered else None
