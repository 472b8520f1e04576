"""Many operators too small to be worth their call: bound by launching, not by computing."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, listing, number, percent

SMALL_NS = 5_000
MIN_PER_STEP = 200
MIN_SHARE = 0.40
_PHASES = frozenset({"forward", "backward", "other"})


def small_operators(evidence: Evidence) -> Finding | None:
    """Forward and backward consist of operators of a few microseconds, and these hold 40 % of the step."""
    if not evidence.steps:
        return None
    inside = [each for each in evidence.calls if each.phase in _PHASES]
    operators = [each for each in inside if each.kind == "op"]
    small = [each for each in inside if each.kind in ("op", "autograd") and each.mean_self_ns < SMALL_NS]
    small_ns = sum(each.self_ns for each in small)
    python_ns = sum(each.self_ns for each in inside if each.kind == "layer")
    share = evidence.share(small_ns + python_ns)
    a_step = evidence.per_step(sum(each.count for each in operators))
    if a_step < MIN_PER_STEP or share < MIN_SHARE or small_ns < python_ns or _median_self_ns(operators) >= SMALL_NS:
        return None
    names: dict[str, int] = {}
    for each in small:
        names[each.name] = names.get(each.name, 0) + each.count
    frequent = sorted(names, key=lambda name: -names[name])
    compiled = evidence.compiled
    return Finding(
        rule="small-operators",
        title=f"Launch-bound: {number(a_step)} small operators a step take {percent(share)} of it",
        evidence=(
            (
                f"{number(a_step)} operators a step in forward and backward, half of the calls below "
                f"{duration(_median_self_ns(operators))} of self time"
            ),
            (
                f"those below {duration(SMALL_NS)} take {percent(evidence.share(small_ns))} of the step, the "
                "Python between "
                f"them inside modules {percent(evidence.share(python_ns))}"
            ),
            "most frequent: "
            + listing(f"{name} ({number(evidence.per_step(names[name]))} a step)" for name in frequent[:3]),
            (
                "gain: a call costs one to two microseconds whatever it computes; fusing or batching saves between a "
                "quarter and three quarters of these calls"
            ),
        ),
        gain_low=0.25 * share,
        gain_high=0.75 * share,
        advice=(
            'Use a larger batch, and torch.compile(model, mode="reduce-overhead") (CUDA graphs).'
            if compiled
            else "Use a larger batch (more work a call), or torch.compile(model), which joins small operators; replace "
            "Python loops over time steps, heads or samples by one batched operator."
        ),
        severity=severity_of(0.75 * share),
    )


def _median_self_ns(operators: list[Calls]) -> float:
    """The median over calls, each taken as its context's mean."""
    half, seen = sum(each.count for each in operators) / 2, 0
    for each in sorted(operators, key=lambda each: each.mean_self_ns):
        seen += each.count
        if seen >= half:
            return each.mean_self_ns
    return 0.0
