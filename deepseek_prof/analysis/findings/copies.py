"""Copies between dtypes, devices and memory layouts that take a visible part of the step."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, listing, number, percent

MIN_SHARE = 0.08
MIN_PER_STEP = 5
_COPIES = frozenset({"aten::copy_", "aten::to", "aten::_to_copy", "aten::clone", "aten::contiguous"})
_ASKED_FOR = frozenset({"copy", "layout"})
_BACKWARD_OF_A_COPY = ("Copy", "Clone")
_PHASES = frozenset({"forward", "backward", "other"})
_WHY = {
    "aten::_to_copy": "dtype or device",
    "aten::to": "dtype or device",
    "aten::contiguous": "memory layout",
    "aten::reshape": "memory layout",
    "aten::clone": "clone",
}


def copies(evidence: Evidence) -> Finding | None:
    """Copying tensors in forward and backward takes at least 8 % of the step.

    Copies that an operator makes for itself (the bias that ``addmm`` adds to, the backward of a view) are part of
    that operator: the program cannot leave them out.
    """
    found = [
        each
        for each in evidence.outermost(_COPIES.__contains__)
        if each.phase in _PHASES and _asked_for(each, evidence)
    ]
    share = evidence.share(sum(each.dur_ns for each in found))
    count = sum(each.count for each in found)
    if share < MIN_SHARE or evidence.per_step(count) < MIN_PER_STEP:
        return None
    causes: dict[str, int] = {}
    for each in found:
        maker = evidence.parent_name(each) if each.layer is None else f"layer {each.layer}"
        cause = _WHY.get(evidence.parent_name(each)) or _WHY.get(each.name, "copy_")
        label = f"{cause} in {maker}" if maker else cause
        causes[label] = causes.get(label, 0) + each.dur_ns
    often = sorted(causes, key=lambda cause: -causes[cause])
    return Finding(
        rule="copies",
        title=f"Copies of tensors take {percent(share)} of the step",
        evidence=(
            (
                f"{number(evidence.per_step(count))} copies a step outside data loading and optimizer, "
                f"{duration(sum(each.dur_ns for each in found) / count)} each"
            ),
            "most time: " + listing(f"{cause} ({percent(evidence.share(causes[cause]))})" for cause in often[:3]),
            "gain: none where every copy is needed, at most nine tenths of their time",
        ),
        gain_low=0.0,
        gain_high=0.9 * share,
        advice="Create tensors in the dtype, device and layout in which they are used; convert weights and "
        "constants once, "
        "before the loop; order permute and reshape so that no contiguous copy is needed; copy_ into buffers kept "
        "between steps instead of clone.",
        severity=severity_of(0.9 * share),
    )


def _asked_for(calls: Calls, evidence: Evidence) -> bool:
    """Whether the program made the copy, itself or through ``reshape`` and the like, or it is the backward of one."""
    for around in evidence.above(calls):
        if around.kind == "op" and around.type not in _ASKED_FOR:
            return False
        if around.kind == "autograd" and not any(mark in around.name for mark in _BACKWARD_OF_A_COPY):
            return False
    return True
