"""Quantiles of durations over a sliding window, in mergeable sketches (DDSketch, VLDB 2019)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ddsketch import LogCollapsingLowestDenseDDSketch

RELATIVE_ACCURACY = 0.01
"""A quantile is within 1 % of a value of that rank, for any distribution."""
WINDOW_NS = 10_000_000_000
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def empty_sketch() -> LogCollapsingLowestDenseDDSketch:
    """A sketch of at most 2048 bins: at 1 % they span a factor of 6 · 10¹⁷, more than 1 ns to 18 years."""
    return LogCollapsingLowestDenseDDSketch(RELATIVE_ACCURACY)


def merged(sketches: Iterable[LogCollapsingLowestDenseDDSketch]) -> LogCollapsingLowestDenseDDSketch:
    """One sketch of all that the others have seen, as accurate as each of them."""
    whole = empty_sketch()
    for sketch in sketches:
        whole.merge(sketch)
    return whole


class WindowedLatency:
    """One sketch for each interval; those of the last ten seconds are merged when quantiles are asked for."""

    def __init__(self) -> None:
        self.whole = empty_sketch()
        """All intervals that were closed."""
        self._current = empty_sketch()
        self._window: deque[tuple[int, LogCollapsingLowestDenseDDSketch]] = deque()

    def add(self, dur_ns: float) -> None:
        """Count a duration."""
        self._current.add(dur_ns)

    def close_interval(self, ts_ns: int) -> dict[str, float]:
        """End the interval; the quantiles of the last ten seconds by name, nothing where they saw nothing."""
        if self._current.count:
            self._window.append((ts_ns, self._current))
            self.whole.merge(self._current)
            self._current = empty_sketch()
        while self._window and self._window[0][0] <= ts_ns - WINDOW_NS:
            self._window.popleft()
        whole = merged(sketch for _, sketch in self._window)
        values = {name: whole.get_quantile_value(quantile) for name, quantile in QUANTILES.items()}
        return {name: float(value) for name, value in values.items() if value is not None}
