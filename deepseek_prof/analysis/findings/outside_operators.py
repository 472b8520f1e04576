"""Time of the step in which no recorded operator, module or loader runs."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.typical_step import covered_ns, typical_step
from deepseek_prof.analysis.findings.wording import duration, percent

MIN_SHARE = 0.25
MIN_NS = 1_000_000
"""Below a millisecond a step, it is the training loop itself."""


def outside_operators(evidence: Evidence) -> Finding | None:
    """A quarter of the step, and at least a millisecond, passes outside everything recorded."""
    if not evidence.steps or not evidence.calls or evidence.reads_in_steps or evidence.incomplete:
        return None
    step = typical_step(evidence)
    if step is None:
        return None
    # A few long steps are the subject of the rule on slow steps: what counts is also so in a step of median length.
    usual_ns = step.dur_ns - covered_ns(evidence, step)
    share = min(evidence.summary.phase_share("outside"), usual_ns / max(1, step.dur_ns))
    a_step_ns = share * evidence.wall_ns / evidence.steps
    if share < MIN_SHARE or min(a_step_ns, usual_ns) < MIN_NS:
        return None
    return Finding(
        rule="outside-operators",
        title=f"{percent(share)} of the step passes outside PyTorch",
        evidence=(
            (
                f"{duration(usual_ns)} of {duration(step.dur_ns)} in step {step.step}, one of median length, "
                "lie in no operator, module, "
                "optimizer or data loader: Python, input and output, logging, other programs"
            ),
            "gain: none is certain without the cause; at most two thirds of it",
        ),
        gain_low=0.0,
        gain_high=share * 2 / 3,
        advice="Look for reading files, logging, checkpoints, metrics in Python or NumPy in the training "
        "loop, and do them "
        'every n-th step or on another thread; mark suspects with deepseek_prof.annotate("name") to see them here.',
        severity=severity_of(share * 2 / 3),
    )
