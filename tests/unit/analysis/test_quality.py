"""Figures of metrics, on drawn series whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from deepseek_prof.analysis import quality
from deepseek_prof.analysis.quality import QualityStat, Spike, describe


def described(values: Sequence[float]) -> QualityStat:
    return describe("loss", "", 0, values, list(range(len(values))))


def noise(count: int, size: float = 0.01) -> list[float]:
    return list(np.random.default_rng(7).normal(0.0, size, count))


def test_range_drift_and_windows_are_exact() -> None:
    found = described([float(value) for value in range(100, 0, -1)])
    assert (found.count, found.first, found.last, found.low, found.high) == (100, 100.0, 1.0, 1.0, 100.0)
    assert len(found.windows) == 10
    assert (found.windows[0].first_step, found.windows[0].last_step) == (0, 9)
    assert (found.windows[0].low, found.windows[0].median, found.windows[0].high) == (91.0, 95.5, 100.0)
    assert found.drift == 5.5 - 95.5
    assert found.trend == "falling"


@pytest.mark.parametrize(("slope", "trend"), [(-0.01, "falling"), (0.01, "rising"), (0.0, "steady")])
def test_the_trend_is_seen_through_noise(slope: float, trend: str) -> None:
    values = [1.0 + slope * index + each for index, each in enumerate(noise(200, 0.05))]
    assert described(values).trend == trend


def test_a_short_series_has_no_trend() -> None:
    found = described([3.0, 2.0, 1.0])
    assert (found.trend, found.drift, len(found.windows)) == ("unknown", None, 1)


@pytest.mark.parametrize("index", [12, 49, 50, 51, 199])
def test_a_spike_is_found_wherever_it_is(index: int) -> None:
    values = [1.0 + each for each in noise(200)]
    values[index] = 3.0
    found = described(values)
    assert [each.step for each in found.spikes] == [index]
    assert found.spikes[0].value == 3.0
    assert found.spikes[0].usual == pytest.approx(1.0, abs=0.05)


def test_blocks_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [1.0 + each for each in noise(400)]
    for index in (60, 129, 130, 131, 399):
        values[index] = 5.0
    whole = described(values)
    monkeypatch.setattr(quality, "_BLOCK", 40)
    assert described(values) == whole
    assert [each.step for each in whole.spikes] == [60, 129, 130, 131, 399]


def test_a_steep_fall_is_no_spike() -> None:
    assert described([math.exp(-index / 40) for index in range(200)]).spike_count == 0


def test_only_the_largest_spikes_are_listed_in_order_of_time() -> None:
    values = [1.0 + each for each in noise(2000)]
    for number in range(quality.MAX_SPIKES + 5):
        values[100 + 60 * number] = 10.0 + number
    found = described(values)
    assert found.spike_count == quality.MAX_SPIKES + 5
    assert [each.value for each in found.spikes] == [10.0 + number for number in range(5, quality.MAX_SPIKES + 5)]


def test_values_that_are_no_number_are_counted_and_left_out() -> None:
    found = described([2.0, 1.0, math.nan, math.inf, 0.5])
    assert (found.count, found.not_finite, found.first_not_finite_step) == (5, 2, 2)
    assert (found.low, found.high, found.last) == (0.5, 2.0, 0.5)


def test_nothing_but_nan_has_no_figures() -> None:
    found = described([math.nan] * 20)
    assert (found.first, found.low, found.drift, found.windows, found.spikes) == (None, None, None, (), ())


def test_spikes_know_their_steps_beside_nan() -> None:
    values = [1.0 + each for each in noise(100)]
    values[3], values[70] = math.nan, 4.0
    assert described(values).spikes == (Spike(70, 4.0, described(values).spikes[0].usual),)
