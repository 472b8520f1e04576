"""Prepared processes timed beside each other: rounds of calls in shuffled order, and the figures of each process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.bootstrap import MIN_STEPS
from deepseek_prof.optimizer.candidate import Candidate
from deepseek_prof.optimizer.results import Figures
from deepseek_prof.optimizer.timing import Samples, interleave

ROUND_NS = 60_000_000
"""A round of one process lasts about this long, so that the clock and the turn cost nothing beside it."""
_MAX_REPEATS = 1_000


@dataclass(frozen=True)
class Taken:
    """What one process did over all rounds."""

    samples: Samples
    peaks_bytes: list[int]
    """Of each round."""

    @property
    def peak_bytes(self) -> int:
        """Of all rounds."""
        return max(self.peaks_bytes)

    def figure(self, goal: str) -> Sequence[float]:
        """Of each round, what the goal wants small."""
        if goal == "memory":
            return self.peaks_bytes
        return self.samples.mean_ns() if goal == "throughput" else self.samples.typical_ns()


def time_together(
    processes: Sequence[Candidate],
    rounds: int,
    seed: int,
    timeout_s: float,
    left_s: float = math.inf,
    repeats: int | None = None,
) -> list[Taken]:
    """Time prepared processes in shuffled rounds; ends early when ``left_s`` is over, after the least number of rounds.

    ``repeats``: of all captured calls in a round; None: as many as make a round long enough for the clock.

    Raises:
        CandidateError: a process ended, or did not answer within ``timeout_s``.
    """
    peaks: list[list[int]] = [[] for _ in processes]
    repeats = _repeats(processes[0], timeout_s) if repeats is None else repeats
    deadline_s = time.monotonic() + left_s
    done = 0

    def timer(index: int) -> Callable[[], list[int]]:
        def take() -> list[int]:
            told = processes[index].ask({"do": "round", "repeats": repeats}, timeout_s)
            peaks[index].append(told["peak_bytes"])
            return list(told["calls_ns"])

        return take

    def go_on() -> bool:
        nonlocal done
        done += 1
        return done < MIN_STEPS or time.monotonic() < deadline_s

    samples = interleave(
        [timer(index) for index in range(len(processes))], rounds, seed, go_on, len(processes[0].signatures)
    )
    return [Taken(*each) for each in zip(samples, peaks, strict=True)]


def figures(samples: Samples, peak_bytes: int, model_bytes: int | None) -> Figures:
    """Figures of one process over its rounds."""
    calls = sorted(samples.calls_ns())
    return Figures(
        median_ns=statistics.median(calls),
        p99_ns=calls[min(len(calls) - 1, math.ceil(0.99 * len(calls)) - 1)],
        calls=len(calls),
        calls_per_s=1e9 * len(calls) / sum(calls),
        peak_bytes=peak_bytes,
        model_bytes=model_bytes,
    )


def repeats_for(taken_ns: float, most: int) -> int:
    """How often a round does what takes so long once: until it is long enough for the clock, ``most`` times at most."""
    return max(1, min(most, ROUND_NS // max(int(taken_ns), 1)))


def _repeats(candidate: Candidate, timeout_s: float) -> int:
    told = candidate.ask({"do": "round", "repeats": 1}, timeout_s)
    return repeats_for(sum(told["calls_ns"]), _MAX_REPEATS)
