"""Values read back into Python in the middle of a step: ``.item()``, ``if tensor:``, ``float(tensor)``."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, listing, number, percent

MIN_PER_STEP = 10
MIN_SHARE = 0.01
_NAMES = frozenset({"aten::item", "aten::is_nonzero", "aten::_local_scalar_dense", "aten::equal"})
_PHASES = frozenset({"forward", "backward", "other"})


def synchronisation(evidence: Evidence) -> Finding | None:
    """At least ten values a step are read back outside optimizer and data loading and take 1 % of its time."""
    if not evidence.steps:
        return None
    reads = [each for each in evidence.outermost(_NAMES.__contains__) if each.phase in _PHASES]
    a_step = evidence.per_step(sum(each.count for each in reads))
    share = evidence.share(sum(each.dur_ns for each in reads))
    if a_step < MIN_PER_STEP or share < MIN_SHARE:
        return None
    places: dict[str, int] = {}
    for each in reads:
        places[_place(each, evidence)] = places.get(_place(each, evidence), 0) + each.count
    often = sorted(places, key=lambda place: -places[place])
    # On an accelerator a read mostly waits for work that has to be done anyway: what is won is only its idle time.
    # On a CPU the read is the cost, and the Python around it costs about as much again.
    low, high = (0.0, 0.5) if evidence.uses_cuda else (0.8, 2.0)
    gain_high = min(0.9, high * share)
    return Finding(
        rule="synchronisation",
        title=f"{number(a_step)} values a step are read back into Python (.item() and the like)",
        evidence=(
            f"{number(a_step)} calls of "
            + listing(sorted({each.name for each in reads}))
            + f" a step outside the optimizer, {percent(share)} of its time, "
            + f"{duration(sum(each.dur_ns for each in reads) / sum(each.count for each in reads))} a call",
            "where: " + listing(f"{place} ({number(evidence.per_step(places[place]))} a step)" for place in often[:3]),
            "gain: up to half of the time of these calls, the rest is work that they wait for"
            if evidence.uses_cuda
            else "gain: most of the time of these calls, at most as much again for the Python around them",
        ),
        gain_low=low * share,
        gain_high=gain_high,
        advice="Keep values as tensors: sum losses and metrics on the device and read them every n-th step, replace "
        "`if tensor:` by torch.where. Each read makes an accelerator wait, and breaks a graph under torch.compile.",
        severity=severity_of(gain_high),
    )


def _place(calls: Calls, evidence: Evidence) -> str:
    around = next((each.name for each in evidence.above(calls) if each.kind in ("op", "user", "autograd")), None)
    if calls.layer:
        return f"layer {calls.layer}"
    return around or f"{calls.phase}, outside any layer"
