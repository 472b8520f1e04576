"""Runs of operators in a typical step that a compiler could join into one pass over memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.typical_step import driving_threads
from deepseek_prof.analysis.steps import Step

JOINABLE = frozenset({"elementwise", "activation", "norm", "softmax", "random"})
_NEUTRAL = frozenset({"layout", "memory", "copy", "reduction", "other"})
"""Neither counted nor in the way: views cost nothing, and a compiler joins casts and sums to their neighbours."""


@dataclass(frozen=True)
class Chain:
    """Joinable operators with no matrix product, convolution or the like between them."""

    block: str
    """The layer around the layers of its longest operator; empty outside layers."""
    phase: str
    length: int
    self_ns: int


def chains(evidence: Evidence, step: Step, phases: frozenset[str], least_ns: int) -> Iterator[Chain]:
    """The chains of ``step`` in order of time, single operators included, without operators below ``least_ns``."""
    calls = {each.context_id: each for each in evidence.calls if each.kind == "op"}
    threads = driving_threads(evidence, step)
    pending: list[tuple[Calls, int]] = []
    for tid, context_id, self_ns in evidence.run.rows(
        "SELECT tid, context_id, self_ns FROM raw_spans WHERE rank = ? AND pid = ? AND step = ? ORDER BY start_ns",
        (step.rank, step.pid, step.step),
    ):
        each = calls.get(context_id)
        if each is None or tid not in threads:
            continue
        joinable = each.type in JOINABLE and each.phase in phases
        if pending and (each.phase != pending[-1][0].phase or not (joinable or each.type in _NEUTRAL)):
            yield _chain(pending)
            pending = []
        if joinable and self_ns >= least_ns:
            pending.append((each, self_ns))
    if pending:
        yield _chain(pending)


def _chain(members: list[tuple[Calls, int]]) -> Chain:
    longest = max(members, key=lambda member: member[1])[0]
    layer = longest.layer or ""
    # A block's norm and activation are neighbours, though each is a module of its own.
    return Chain(layer.rpartition(".")[0] or layer, longest.phase, len(members), sum(ns for _, ns in members))
