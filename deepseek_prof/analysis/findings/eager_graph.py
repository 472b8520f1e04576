"""Chains of memory-bound operators that a compiler would fuse."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.operator_chains import chains
from deepseek_prof.analysis.findings.small_operators import SMALL_NS
from deepseek_prof.analysis.findings.typical_step import typical_step
from deepseek_prof.analysis.findings.wording import listing, number, percent

MIN_SHARE = 0.20
MIN_CHAIN = 3
_PHASES = frozenset({"forward", "backward"})


def eager_graph(evidence: Evidence) -> Finding | None:
    """Three and more element-wise, activation, norm and softmax operators in a row take a fifth of the step.

    Operators below 5 µs are left to the rule on small operators; nothing is said of a program that compiles.
    """
    step = None if evidence.compiled else typical_step(evidence)
    if step is None:
        return None
    # One or two between matrix products leave a compiler little to join.
    long = [each for each in chains(evidence, step, _PHASES, SMALL_NS) if each.length >= MIN_CHAIN]
    whole_ns = step.dur_ns
    share = min(1.0, sum(each.dur_ns for each in long) / whole_ns)
    if share < MIN_SHARE:
        return None
    places: dict[str, float] = {}
    for each in long:
        place = f"{each.block or 'outside layers'} {each.phase}"
        places[place] = places.get(place, 0.0) + each.dur_ns
    slowest = sorted(places, key=lambda place: -places[place])
    # A fused chain of n operators goes over memory once instead of n times: (n - 1) / n of its time at most.
    gain_high = min(1.0, sum(each.dur_ns * (each.length - 1) / each.length for each in long) / whole_ns)
    return Finding(
        rule="eager-graph",
        title=f"Memory-bound operator chains take {percent(share)} of the step in eager mode",
        evidence=(
            (
                f"in step {step.step}, {number(sum(each.length for each in long))} element-wise, activation, "
                "norm and softmax "
                f"operators stand in {len(long)} chains of three and more (the longest: "
                f"{max(each.length for each in long)}), "
                "each reading and writing whole tensors; nothing in this run was compiled"
            ),
            "most time: " + listing([f"{place} ({percent(places[place] / whole_ns)})" for place in slowest]),
            (
                "gain: a fused chain of n operators goes over memory once, which saves (n - 1)/n of its time "
                "at most; on CPU a "
                "compiled model can also come out slower, so measure both"
            ),
        ),
        gain_low=0.2 * share if evidence.uses_cuda else 0.0,
        gain_high=gain_high,
        advice="Try model = torch.compile(model), and compare the steady steps of both runs.",
        severity=severity_of(gain_high),
    )
