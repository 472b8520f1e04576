"""Whether a candidate learns as eager does: its loss at each step, against two runs of eager."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ROUNDING_FACTOR = 8.0
"""How much further than the nudged run an exact pass may be from eager. The nudge is one unit in the last place of the
weights; a pass that adds in another order rounds each result anew, and a training multiplies either alike."""
FLOOR = 1e-6
"""Relative difference that is always rounding: eight units in the last place of a float32 loss."""
TOLERANCE = 0.02
"""Relative difference of the mean loss of later steps that a pass may make that changes results."""
_SPREADS = 3.0
_LOUD = 0.01
_UNSEEDED = 1e-3
"""Relative difference of the first loss that no rounding explains."""


@dataclass(frozen=True)
class Curves:
    """Of each step, the losses that backward passes began from: of eager, of eager nudged, of the candidate."""

    eager: Sequence[Sequence[float]]
    control: Sequence[Sequence[float]]
    candidate: Sequence[Sequence[float]]


@dataclass(frozen=True)
class LossComparison:
    """How far the candidate's losses are from eager's; differences are relative to the largest loss of eager."""

    steps: int
    difference: float
    """The largest of a step."""
    noise: float
    """The same between the two runs of eager."""
    within_noise: bool
    mean_difference: float
    """Of the mean loss over the later half of the steps."""
    failure: str | None
    notes: tuple[str, ...]
    eager: tuple[float, ...]
    candidate: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, None where JSON has no number; the curves hold the sum of each step's losses."""
        return {
            "steps": self.steps,
            "loss_difference": _plain(self.difference),
            "loss_noise": _plain(self.noise),
            "loss_mean_difference": _plain(self.mean_difference),
            "losses": [_plain(each) for each in self.candidate],
            "baseline_losses": [_plain(each) for each in self.eager],
        }


def compare(curves: Curves, *, lossy: bool) -> LossComparison:
    """Hold the candidate's losses against eager's, step by step, as far as all three ran.

    Every pass must be within ``TOLERANCE``, and three standard errors, of eager's mean over the later half. An exact
    one must be within the noise besides: no step further from eager than ``ROUNDING_FACTOR`` times the furthest that
    the nudged run has been until then, or than ``FLOOR``.
    """
    eager, control, candidate = (_sums(each) for each in (curves.eager, curves.control, curves.candidate))
    steps = min(len(eager), len(control), len(candidate))
    eager, control, candidate = eager[:steps], control[:steps], candidate[:steps]
    scale = max((abs(each) for each in eager if math.isfinite(each)), default=0.0) or 1.0
    apart = [_distance(a, b) / scale for a, b in zip(eager, candidate, strict=True)]
    noise, beyond = 0.0, None
    for step, (a, b) in enumerate(zip(eager, control, strict=True)):
        noise = max(noise, _distance(a, b) / scale)
        allowed = max(ROUNDING_FACTOR * noise, FLOOR)
        if beyond is None and not apart[step] <= allowed:
            beyond = f"loss of step {step} differs by {apart[step]:.1e}, where rounding explains {allowed:.1e}"
    mean, spread = _later(eager, candidate, scale)
    worse = None if abs(mean) <= TOLERANCE + spread else f"mean loss of the later steps differs by {mean:+.1%}"
    structure = None if _kinds(curves.eager, steps) == _kinds(curves.candidate, steps) else "other backward passes"
    return LossComparison(
        steps=steps,
        difference=max(apart, default=0.0),
        noise=noise,
        within_noise=beyond is None and structure is None,
        mean_difference=mean,
        failure=structure or (None if lossy else beyond) or worse,
        notes=_notes(noise, _distance(eager[0], control[0]) / scale) if steps else (),
        eager=tuple(eager),
        candidate=tuple(candidate),
    )


def _notes(noise: float, first: float) -> tuple[str, ...]:
    if noise <= _LOUD:
        return ()
    cause = "seed all that is random" if first > _UNSEEDED else "rounding grows to that in this training"
    return (f"two runs of eager differ in their loss by {noise:.1%}: {cause}",)


def _sums(curve: Sequence[Sequence[float]]) -> list[float]:
    return [sum(each) for each in curve]


def _kinds(curve: Sequence[Sequence[float]], steps: int) -> list[int]:
    return [len(each) for each in curve[:steps]]


def _distance(a: float, b: float) -> float:
    """NaN and infinity are as far from a number as can be, and equal to themselves: eager may diverge too."""
    if math.isfinite(a) and math.isfinite(b):
        return abs(a - b)
    return 0.0 if str(a) == str(b) else math.inf


def _later(eager: Sequence[float], candidate: Sequence[float], scale: float) -> tuple[float, float]:
    """Mean relative difference over the later half of the steps, and three standard errors of it."""
    half = len(eager) // 2
    pairs = list(zip(eager[half:], candidate[half:], strict=True))
    apart = [
        (b - a) / scale if math.isfinite(a) and math.isfinite(b) else math.copysign(_distance(a, b), 1)
        for a, b in pairs
    ]
    mean = math.fsum(apart) / max(len(apart), 1)
    if not math.isfinite(mean) or len(apart) < 2:
        return mean, 0.0
    variance = math.fsum((each - mean) ** 2 for each in apart) / (len(apart) - 1)
    return mean, _SPREADS * math.sqrt(variance / len(apart))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
