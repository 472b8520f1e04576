"""Sketches of durations: their error bound on distributions of all shapes, merging, and the sliding window."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from deepseek_prof.recording.latency import (
    QUANTILES,
    RELATIVE_ACCURACY,
    WINDOW_NS,
    WindowedLatency,
    empty_sketch,
    merged,
)

RNG = np.random.default_rng(7)
DISTRIBUTIONS = {
    "uniform": RNG.uniform(1e3, 1e9, 5_000),
    "lognormal": RNG.lognormal(15, 2, 5_000),
    "pareto": (RNG.pareto(1.2, 5_000) + 1) * 1e4,
    "two modes": np.concatenate([RNG.normal(1e6, 1e4, 4_900), RNG.normal(5e9, 1e8, 100)]),
    "constant": np.full(100, 12_345.0),
    "extremes": np.geomspace(1, 1e17, 1_000),
}
BOUND = RELATIVE_ACCURACY * (1 + 1e-9)
"""The last bits of the logarithm are not the sketch's."""


def exact(values: npt.NDArray[np.float64], quantile: float) -> float:
    """The value of rank ``floor(q (n - 1))``, which the sketch's guarantee speaks of."""
    return float(np.sort(values)[math.floor(quantile * (len(values) - 1))])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_quantile_is_within_the_bound(name: str) -> None:
    values = DISTRIBUTIONS[name]
    sketch = empty_sketch()
    for value in values:
        sketch.add(value)
    for quantile in (0.0, 0.01, 0.25, *QUANTILES.values(), 0.999, 1.0):
        found = sketch.get_quantile_value(quantile)
        assert found is not None
        assert abs(found - exact(values, quantile)) <= BOUND * exact(values, quantile), quantile


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_merged_parts_say_what_the_whole_says(name: str) -> None:
    values = DISTRIBUTIONS[name]
    whole, parts = empty_sketch(), [empty_sketch() for _ in range(7)]
    for index, value in enumerate(values):
        whole.add(value)
        parts[index % 7].add(value)
    together = merged(parts)
    assert together.count == len(values)
    for quantile in (0.0, 0.1, *QUANTILES.values(), 1.0):
        assert together.get_quantile_value(quantile) == whole.get_quantile_value(quantile)
    assert sum(part.count for part in parts) == len(values), "merging leaves the parts as they were"


def test_the_window_forgets_and_the_whole_does_not() -> None:
    latency = WindowedLatency()
    latency.add(1e9)
    assert latency.close_interval(1)["p99"] == pytest.approx(1e9, rel=RELATIVE_ACCURACY)
    for _ in range(10):
        latency.add(1e6)
    assert latency.close_interval(WINDOW_NS)["p50"] == pytest.approx(1e6, rel=RELATIVE_ACCURACY)
    latency.add(2e6)
    assert latency.close_interval(WINDOW_NS + 1)["p99"] < 3e6, "the second of 1 s has left the window"
    assert latency.whole.count == 12
    assert latency.close_interval(3 * WINDOW_NS) == {}
