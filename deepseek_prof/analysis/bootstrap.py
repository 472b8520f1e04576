"""Bootstrap intervals of the difference between the typical steps of two runs, for many entries at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float64]
Draw: TypeAlias = npt.NDArray[Any]

CONFIDENCE = 0.95
RESAMPLES = 2_000
SEED = 20_240_229
MIN_STEPS = 5
"""With fewer steps of a run the spread between steps is not known well enough to say anything."""
STATISTICS = ("mean", "median")

_Z = 1.959964
_MAX_CORRELATION = 0.9
_CELLS_A_CHUNK = 4_000_000


@dataclass(frozen=True)
class Differences:
    """``after - before`` of every entry, and the ends of its interval; units are those of the samples."""

    before: Matrix
    after: Matrix
    low: Matrix
    high: Matrix


def differences(before: Matrix, after: Matrix, statistic: str = "mean", seed: int = SEED) -> Differences:
    """Compare two samples of shape (steps, entries) entry by entry.

    The interval is the percentile bootstrap over steps (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13), where the two runs are resampled independently. Two corrections widen it: Student's quantile in place
    of the normal one, because few steps understate their spread, and the variance inflation of a first-order
    autoregressive series, because a slow moment of the machine lasts longer than one step. Both ends are NaN where a
    run has fewer than :data:`MIN_STEPS` steps.

    Raises:
        ValueError: ``statistic`` is unknown, a sample is empty, or the numbers of entries differ.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"unknown statistic {statistic!r}")
    if not len(before) or not len(after) or before.shape[1] != after.shape[1]:
        raise ValueError(f"samples of shapes {before.shape} and {after.shape} cannot be compared")
    centers = _typical(before, statistic), _typical(after, statistic)
    entries = before.shape[1]
    low = np.full(entries, np.nan)
    high = np.full(entries, np.nan)
    if min(len(before), len(after)) >= MIN_STEPS:
        a_generator, b_generator = (np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(2))
        a_draw = _draw(len(before), statistic, a_generator)
        b_draw = _draw(len(after), statistic, b_generator)
        width = max(1, _CELLS_A_CHUNK // RESAMPLES)
        for first in range(0, entries, width):
            chosen = slice(first, first + width)
            deviation = _deviations(after[:, chosen], b_draw, centers[1][chosen], statistic)
            deviation -= _deviations(before[:, chosen], a_draw, centers[0][chosen], statistic)
            outside = 100 * (1 - CONFIDENCE) / 2
            ends = np.percentile(deviation, (outside, 100 - outside), axis=0)
            delta = centers[1][chosen] - centers[0][chosen]
            low[chosen] = delta + ends[0]
            high[chosen] = delta + ends[1]
    return Differences(centers[0], centers[1], low, high)


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution, to 1 % from four degrees of freedom on.

    Source: the asymptotic expansion of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    z = _Z
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


def _typical(sample: Matrix, statistic: str) -> Matrix:
    found: Matrix = sample.mean(axis=0) if statistic == "mean" else np.median(sample, axis=0)
    return found


def _draw(steps: int, statistic: str, generator: np.random.Generator) -> Draw:
    """The resamples, which serve all entries: of shape (resamples, steps), how often each step is in one, as float32.

    For medians of shape (resamples, 2), the ranks of the two middle steps: the median of a resample is an order
    statistic of the sample, and which one does not depend on the values.
    """
    if statistic == "mean":
        counts = np.empty((RESAMPLES, steps), dtype=np.float32)
        for row in counts:  # for thousands of steps several times faster than Generator.multinomial
            row[:] = np.bincount(generator.integers(0, steps, steps), minlength=steps)
        return counts
    middles = [(steps - 1) // 2, steps // 2]
    ranks = generator.integers(0, steps, size=(RESAMPLES, steps))
    ranks.partition(middles, axis=1)
    return ranks[:, middles]


def _deviations(sample: Matrix, draw: Draw, center: Matrix, statistic: str) -> Matrix:
    """Resampled statistics less the sample's own, widened, of shape (resamples, entries)."""
    if statistic == "mean":
        # Of deviations half the precision is enough, which takes half the time and memory: six digits of the interval.
        found: Matrix = (draw @ (sample - center).astype(np.float32)).astype(np.float64) / len(sample)
    else:
        ascending = np.sort(sample, axis=0)
        found = (ascending[draw[:, 0]] + ascending[draw[:, 1]]) / 2 - center
    found *= _widening(sample)
    return found


def _widening(sample: Matrix) -> Matrix:
    """The factor of every entry by which the deviations of its resamples are too small."""
    steps = len(sample)
    centered = sample - sample.mean(axis=0)
    variance = (centered**2).sum(axis=0)
    products = (centered[1:] * centered[:-1]).sum(axis=0)
    correlation = np.divide(products, variance, out=np.zeros_like(variance), where=variance > 0)
    # The estimate from few steps is too low by about this much (Marriott and Pope, Biometrika 41, 1954).
    correlation = np.clip(correlation + (1 + 3 * correlation) / steps, 0, _MAX_CORRELATION)
    student = math.sqrt(steps / (steps - 1)) * student_quantile(steps - 1) / _Z
    widening: Matrix = student * np.sqrt((1 + correlation) / (1 - correlation))
    return widening
