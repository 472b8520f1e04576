"""Chains of memory-bound operators that a compiler would fuse."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.small_operators import SMALL_NS
from deepseek_prof.analysis.findings.wording import listing, number, percent

MIN_SHARE = 0.20
MIN_CHAIN = 3
_TYPES = frozenset({"elementwise", "activation", "norm", "softmax", "random"})
_PHASES = frozenset({"forward", "backward"})


def eager_graph(evidence: Evidence) -> Finding | None:
    """Eager chains of element-wise, activation, norm and softmax operators take a fifth of the step.

    Operators below 5 µs are left to the rule on small operators; nothing is said of a program that compiles.
    """
    if evidence.compiled or not evidence.steps:
        return None
    chains: dict[tuple[str, str], list[Calls]] = {}
    for each in evidence.calls:
        if each.kind == "op" and each.phase in _PHASES and each.type in _TYPES and each.mean_self_ns >= SMALL_NS:
            chains.setdefault((_block(each.layer), each.phase), []).append(each)
    # A single activation between two matrix products has no neighbour to be fused with.
    long = {key: chain for key, chain in chains.items() if len(chain) >= MIN_CHAIN}
    times = {key: sum(each.self_ns for each in chain) for key, chain in long.items()}
    share = evidence.share(sum(times.values()))
    if share < MIN_SHARE:
        return None
    count = evidence.per_step(sum(each.count for chain in long.values() for each in chain))
    slowest = sorted(times, key=lambda key: -times[key])[:3]
    return Finding(
        rule="eager-graph",
        title=f"Memory-bound operator chains take {percent(share)} of the step in eager mode",
        evidence=(
            (
                f"{number(count)} element-wise, activation, norm and softmax operators a step, each reading and writing whole "
                "tensors, stand in chains of three and more; nothing in this run was compiled"
            ),
            "most time: "
            + listing(
                f"{block or 'outside layers'} {phase} ({percent(evidence.share(times[block, phase]))})"
                for block, phase in slowest
            ),
            (
                "gain: a fused chain reads and writes memory once instead of once an operator: a fifth to two thirds of this "
                "time; on CPU a compiled model can also come out slower, so measure both"
            ),
        ),
        gain_low=0.2 * share,
        gain_high=0.65 * share,
        advice="Try model = torch.compile(model), and compare the steady steps of both runs.",
        severity=severity_of(0.65 * share),
    )


def _block(layer: str | None) -> str:
    """The layer around a layer: a block's norm and activation are neighbours, though each is a module of its own."""
    return (layer or "").rpartition(".")[0] or (layer or "")
