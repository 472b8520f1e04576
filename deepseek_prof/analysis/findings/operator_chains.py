"""Runs of operators in a typical step that a compiler could join into one pass over memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.typical_step import driving_threads, usual_durations_ns
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
    dur_ns: float
    """Of usual calls: one step alone may have been interrupted anywhere."""


def chains(evidence: Evidence, step: Step, phases: frozenset[str], least_ns: int) -> Iterator[Chain]:
    """The chains of ``step`` in order of time, single operators included, without operators below ``least_ns``."""
    calls = {each.context_id: each for each in evidence.calls if each.kind == "op"}
    # What batch_norm calls for itself is batch_norm, not one more operator in the row.
    nested = {
        context_id
        for context_id, each in calls.items()
        if any(around.kind == "op" and around.type in JOINABLE for around in evidence.above(each))
    }
    threads = driving_threads(evidence, step)
    usual_ns = usual_durations_ns(evidence, step)
    pending: list[Calls] = []
    for tid, context_id in evidence.run.rows(
        "SELECT tid, context_id FROM raw_spans WHERE rank = ? AND pid = ? AND step = ? ORDER BY start_ns",
        (step.rank, step.pid, step.step),
    ):
        each = calls.get(context_id)
        if each is None or tid not in threads or context_id in nested:
            continue
        joinable = each.type in JOINABLE and each.phase in phases
        if pending and (each.phase != pending[-1].phase or not (joinable or each.type in _NEUTRAL)):
            yield _chain(pending, usual_ns)
            pending = []
        if joinable and usual_ns[each.context_id] >= least_ns:
            pending.append(each)
    if pending:
        yield _chain(pending, usual_ns)


def _chain(members: list[Calls], usual_ns: dict[int, float]) -> Chain:
    durations_ns = [usual_ns[each.context_id] for each in members]
    layer = members[durations_ns.index(max(durations_ns))].layer or ""
    # A block's norm and activation are neighbours, though each is a module of its own.
    return Chain(layer.rpartition(".")[0] or layer, members[0].phase, len(members), sum(durations_ns))
