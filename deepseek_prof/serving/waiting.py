"""The queue of a batcher: bounded, in groups of requests that may share a batch, with a limit to their waiting."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable

from deepseek_prof.errors import BatcherClosedError, OverloadedError
from deepseek_prof.serving.request import Request


class _Group:
    """Requests of one key, in order of arrival."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.rows = 0

    def add(self, request: Request) -> None:
        self.requests.append(request)
        self.rows += request.rows

    def remove(self, request: Request) -> None:
        self.requests.remove(request)
        self.rows -= request.rows

    def take(self, max_rows: int) -> list[Request]:
        taken: list[Request] = []
        rows = 0
        while self.requests and rows + self.requests[0].rows <= max_rows:
            rows += self.requests[0].rows
            taken.append(self.requests.popleft())
        self.rows -= rows
        return taken


class WaitingLine:
    """Where requests wait; a batch is ready when it is full, or when its first request has waited long enough.

    Args:
        max_requests: how many may wait.
        max_rows: how many rows a batch may have.
        max_wait_s: how long a request waits for others.
    """

    def __init__(self, max_requests: int, max_rows: int, max_wait_s: float) -> None:
        self._max_requests = max_requests
        self._max_rows = max_rows
        self._max_wait_s = max_wait_s
        self._changed = threading.Condition()
        self._groups: dict[Hashable, _Group] = {}
        self._waiting = 0
        self._most = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return self._waiting

    @property
    def most(self) -> int:
        """The largest number of requests that waited at once."""
        return self._most

    def put(self, request: Request) -> None:
        """Add a request. Raises OverloadedError where there is no room, BatcherClosedError once closed."""
        with self._changed:
            if self._closed:
                raise BatcherClosedError("The batcher is closed and takes no more requests.")
            if self._waiting >= self._max_requests:
                raise OverloadedError(f"{self._waiting} requests wait, as many as may; try again later.")
            group = self._groups.setdefault(request.key, _Group())
            group.add(request)
            request.waits = True
            self._waiting += 1
            self._most = max(self._most, self._waiting)
            # Otherwise the one who takes wakes up in time for the first request, which came earlier.
            if self._waiting == 1 or group.rows >= self._max_rows:
                self._changed.notify()

    def discard(self, request: Request) -> None:
        """Take out a request that has ended, so that it holds no place; nothing where it does not wait."""
        with self._changed:
            if request.waits:
                group = self._groups[request.key]
                group.remove(request)
                self._left(request.key, group, [request])

    def take(self) -> list[Request] | None:
        """Wait for a batch, of one key and in order of arrival; None once closed and empty."""
        with self._changed:
            while True:
                key = self._ready()
                if key is not None:
                    group = self._groups[key]
                    taken = group.take(self._max_rows)
                    self._left(key, group, taken)
                    return taken
                if self._closed:
                    return None
                self._changed.wait(self._patience_s())

    def close(self, *, drain: bool) -> list[Request]:
        """Take no more requests; without ``drain`` return those that wait, which then never come out of ``take``."""
        with self._changed:
            self._closed = True
            left: list[Request] = []
            for key, group in () if drain else tuple(self._groups.items()):
                taken = list(group.requests)
                group.requests.clear()
                self._left(key, group, taken)
                left += taken
            self._changed.notify_all()
            return left

    def _ready(self) -> Hashable | None:
        """Of the groups that are full or have waited, or of all once closed, the one whose first request came first."""
        latest_s = time.monotonic() - self._max_wait_s
        ready = (
            (group.requests[0].queued_s, key)
            for key, group in self._groups.items()
            if self._closed or group.rows >= self._max_rows or group.requests[0].queued_s <= latest_s
        )
        first = min(ready, key=lambda each: each[0], default=None)
        return None if first is None else first[1]

    def _patience_s(self) -> float | None:
        if not self._groups:
            return None
        first_s = min(group.requests[0].queued_s for group in self._groups.values())
        return min(max(0.0, first_s + self._max_wait_s - time.monotonic()), threading.TIMEOUT_MAX)

    def _left(self, key: Hashable, group: _Group, requests: list[Request]) -> None:
        self._waiting -= len(requests)
        for request in requests:
            request.waits = False
        if not group.requests:
            del self._groups[key]
