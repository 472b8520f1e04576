"""Median and its bootstrap interval: what every row of the table states."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 2_000
SEED = 20_240_229
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median over rounds with a 95 % percentile-bootstrap interval; both ends equal the median for one round."""

    median: float
    low: float
    high: float
    rounds: int


def estimate(values: Sequence[float]) -> Estimate:
    """Return the median of ``values`` and its interval (Efron's percentile bootstrap, fixed seed).

    Raises ValueError when ``values`` is empty.
    """
    if not values:
        raise ValueError("no values to estimate from")
    generator = random.Random(SEED)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(RESAMPLES))
    outside = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Estimate(median(values), medians[outside], medians[-1 - outside], len(values))
