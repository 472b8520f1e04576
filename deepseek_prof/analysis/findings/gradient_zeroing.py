"""``zero_grad(set_to_none=False)``: gradients written with zeros, then read to be added to."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, number, percent

MIN_SHARE = 0.02
_PREFIX = "Optimizer.zero_grad#"


def gradient_zeroing(evidence: Evidence) -> Finding | None:
    """Filling gradients with zeros takes at least 2 % of the step."""
    scopes = [each for each in evidence.calls if each.name.startswith(_PREFIX)]
    zeros = [each for each in evidence.below(scopes) if each.name in ("aten::zero_", "aten::_foreach_zero_")]
    share = evidence.share(sum(each.dur_ns for each in scopes))
    added = evidence.share(sum(each.self_ns for each in evidence.calls if _adds_gradients(each, evidence)))
    filled = evidence.per_step(sum(each.count for each in zeros if each.name == "aten::zero_"))
    if not zeros or share < MIN_SHARE:
        return None
    return Finding(
        rule="gradient-zeroing",
        title=f"Filling gradients with zeros takes {percent(share)} of the step",
        evidence=(
            (
                f"{scopes[0].name} takes "
                f"{duration(sum(each.dur_ns for each in scopes) / sum(each.count for each in scopes))} "
                f"a call and fills {number(filled)} tensors a step"
            ),
            f"backward then adds to the zeros instead of keeping its result: {percent(added)} of the step",
            "gain: nearly all of the first, at most both",
        ),
        gain_low=0.9 * share,
        gain_high=0.9 * share + added,
        advice="Call zero_grad() without set_to_none=False: gradients are then dropped, not written.",
        severity=severity_of(0.9 * share + added),
    )


def _adds_gradients(calls: Calls, evidence: Evidence) -> bool:
    return calls.name == "aten::add_" and "AccumulateGrad" in evidence.parent_name(calls)
