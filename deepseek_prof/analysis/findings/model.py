"""What a rule says: a finding with its evidence, an estimated gain and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["high", "medium", "low"]

HIGH_GAIN = 0.20
MEDIUM_GAIN = 0.07


@dataclass(frozen=True)
class Finding:
    """One thing that makes the program slower than it need be, or that a reader of the report must know.

    ``title``, ``evidence`` and ``advice`` may hold names of the profiled program: they are data, to be escaped and
    stripped of control characters where they are shown.
    """

    rule: str
    """Name of the rule, as in ``docs/findings.md``."""
    title: str
    evidence: tuple[str, ...]
    """What was measured, and how the gain was estimated from it."""
    gain_low: float
    gain_high: float
    """Estimated saving as fractions of the step time; both 0 where the finding only informs."""
    advice: str
    severity: Severity


def severity_of(gain_high: float) -> Severity:
    """The severity that goes with an estimated gain, a fraction of the step time."""
    if gain_high >= HIGH_GAIN:
        return "high"
    return "medium" if gain_high >= MEDIUM_GAIN else "low"
