"""When windows of CUDA recording begin and end: they follow steps, keep within ``--steps`` and the overhead budget.

Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

SHORTEST_NS = 500_000_000
"""A window ends with the first step that ends later: to change windows makes the program wait for its device."""
LONGEST_NS = 5_000_000_000
"""What a window without the end of a step may hold, as with replays of a graph that no layer is around."""

MAX_FOR_CAPTURES = 16
"""So many windows may begin beyond the budget because a CUDA graph is captured, for all its replays depend on that."""


class WindowPlan:
    """Decides at each place where windows can change; times are nanoseconds of one clock, CLOCK_MONOTONIC."""

    def __init__(self, steps: tuple[int, int] | None, budget: float | None, now_ns: int) -> None:
        self._steps = steps
        self._budget = budget
        self._began_ns = now_ns
        self._opened_ns: int | None = None
        self._opened_step = -1
        self._spent_ns = 0
        self._for_captures = 0

    @property
    def is_open(self) -> bool:
        """Whether a window is open."""
        return self._opened_ns is not None

    @property
    def spent_ns(self) -> int:
        """What recording has cost so far, as far as ``spend`` was told."""
        return self._spent_ns

    def spend(self, cost_ns: int) -> None:
        """Recording has taken this time from the program."""
        self._spent_ns += cost_ns

    def wants_open(self, step: int, now_ns: int, *, for_capture: bool = False) -> bool:
        """Whether a window may begin before ``step`` (-1: none has begun, and the next is 0)."""
        if self.is_open or not self._in_range(step):
            return False
        if for_capture and self._for_captures < MAX_FOR_CAPTURES:
            return True
        # The first window is what tells the cost.
        own_ns = max(now_ns - self._began_ns - self._spent_ns, 0)
        return self._budget is None or self._spent_ns <= self._budget * own_ns

    def wants_close(self, step: int, now_ns: int) -> bool:
        """Whether the open window ends here, before ``step``."""
        if self._opened_ns is None:
            return False
        age_ns = now_ns - self._opened_ns
        ended_step = step > self._opened_step
        return age_ns > LONGEST_NS or (ended_step and (age_ns > SHORTEST_NS or not self._in_range(step)))

    def is_over(self, step: int) -> bool:
        """Whether no window will begin any more."""
        return self._steps is not None and step > self._steps[1]

    def opened(self, step: int, now_ns: int, *, for_capture: bool = False) -> None:
        """A window has begun before ``step``."""
        self._for_captures += for_capture
        self._opened_ns, self._opened_step = now_ns, max(step, 0)

    def closed(self) -> None:
        """The window has ended."""
        self._opened_ns = None

    def _in_range(self, step: int) -> bool:
        return self._steps is None or self._steps[0] <= max(step, 0) <= self._steps[1]
