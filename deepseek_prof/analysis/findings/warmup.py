"""Says which steps the tables leave out."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding
from deepseek_prof.analysis.findings.wording import duration


def warmup(evidence: Evidence) -> Finding | None:
    """The first steps were slower (allocations, autotuning, compilation) and are left out of every figure."""
    steps = evidence.summary.steps
    if steps is None or steps.warmup == 0:
        return None
    one = steps.warmup == 1
    first = "first step" if one else f"first {steps.warmup} steps"
    whose = "" if evidence.summary.ranks <= 1 else " of each rank"
    took = duration(steps.warmup_ns) + ("" if one else f" ({duration(steps.warmup_ns / steps.warmup)} each)")
    return Finding(
        rule="warmup",
        title=f"The {first} {'is' if one else 'are'} warm-up and left out",
        evidence=(f"the {first}{whose} took {took}, the median of the others is {duration(steps.median_ns)}",),
        gain_low=0.0,
        gain_high=0.0,
        advice="Nothing to do in a long run. Leave these steps out of your own timings too.",
        severity="low",
    )
