"""Interleaved timing: rounds in shuffled order, the ratio of each round, and the interval of their median."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MIN_GAIN = 1.01
"""Less than one percent is not worth a change, and is within what the placement of a process in memory does."""

MIN_MEMORY_GAIN = 1.05
"""A process's peak hardly varies from round to round: the interval says little of what two processes differ by."""


@dataclass(frozen=True)
class Ratio:
    """A speed-up (time before / time after): median over the rounds and its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """How far from 1 the interval reaches, as a ratio of at least 1."""
        return max(self.high, 1 / self.low)


@dataclass
class Samples:
    """Calls of one process over the rounds, in nanoseconds."""

    rounds: list[list[int]] = field(default_factory=list)
    kinds: int = 1
    """Captured calls, which a round repeats in their order."""

    def typical_ns(self) -> list[float]:
        """Of each round, the sum of every captured call's median: a call that lost its CPU does not move it."""
        return [
            sum(statistics.median(calls[kind :: self.kinds]) for kind in range(self.kinds)) for calls in self.rounds
        ]

    def mean_ns(self) -> list[float]:
        """Of each round, the time of a call with all that delayed some: what throughput goes by."""
        return [statistics.fmean(calls) for calls in self.rounds]

    def calls_ns(self) -> list[int]:
        """All calls."""
        return [each for calls in self.rounds for each in calls]


def interleave(
    timers: Sequence[Callable[[], list[int]]],
    rounds: int,
    seed: int,
    go_on: Callable[[], bool] = lambda: True,
    kinds: int = 1,
) -> list[Samples]:
    """Run every timer once a round, in an order drawn anew for each; ends early, after whole rounds, by ``go_on``."""
    order = list(range(len(timers)))
    generator = random.Random(seed)
    samples = [Samples(kinds=kinds) for _ in timers]
    for _ in range(rounds):
        generator.shuffle(order)
        taken = {index: timers[index]() for index in order}
        for index, calls in taken.items():
            samples[index].rounds.append(calls)
        if not go_on():
            break
    return samples


def ratio(before: Samples, after: Samples) -> Ratio:
    """The speed-up from ``before`` to ``after``: :func:`ratio_of` of the rounds' typical times."""
    return ratio_of(before.typical_ns(), after.typical_ns())


def ratio_of(before: Sequence[float], after: Sequence[float]) -> Ratio:
    """How many times smaller a figure of every round became from ``before`` to ``after``, paired by round.

    The interval is the bootstrap of :mod:`deepseek_prof.analysis.bootstrap` on the logarithms of the rounds' ratios,
    with its corrections for few and for correlated rounds; it is NaN below its least number of rounds.
    """
    import numpy as np

    from deepseek_prof.analysis.bootstrap import differences

    logs = np.log(np.array(before) / np.array(after)).reshape(-1, 1)
    found = differences(np.zeros_like(logs), logs, "median")
    return Ratio(*(math.exp(float(each[0])) for each in (found.after, found.low, found.high)))


def is_win(found: Ratio, control: Ratio, least: float = MIN_GAIN) -> bool:
    """Whether the interval's lower end clears 1, the least gain, and what two equal processes differ by."""
    return found.low > max(least, control.spread)


def is_loss(found: Ratio, control: Ratio) -> bool:
    """Whether it is slower by more than two equal processes differ."""
    return found.high < min(1.0, 1 / control.spread)
