"""What the first screen says of a run, or of what is selected of it."""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextTree, on_host, selected_sums
from deepseek_prof.analysis.results import PhaseShare, StepStats
from deepseek_prof.analysis.series import Series, step_times
from deepseek_prof.analysis.summary import Summary, summarize
from deepseek_prof.analysis.verdict import Verdict, judge
from deepseek_prof.trace.run import Condition, Run


@dataclass(frozen=True)
class Overview:
    """``verdict``, ``summary`` and ``stats`` are of the whole run and None where something is selected of it."""

    summary: Summary | None
    verdict: Verdict | None
    steps: Series
    stats: StepStats | None
    phases: tuple[PhaseShare, ...]
    self_ns: int
    """Selected self time of the host's threads, or of accelerators where only their work is selected."""
    whole_ns: int
    """Self time of all that is recorded on the same."""


def overview(run: Run, condition: Condition | None = None) -> Overview:
    """The first screen of ``run``, or of what ``condition`` selects of it.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    tree = ContextTree.of(run)
    whole = on_host(selected_sums(run, tree))
    whole_ns = sum(each.self_ns for each in whole)
    if condition is None:
        summary = summarize(run)
        return Overview(summary, judge(summary), step_times(run), summary.steps, summary.phases, whole_ns, whole_ns)
    chosen = on_host(selected_sums(run, tree, condition))
    times: dict[str, int] = {}
    for each in chosen:
        times[each.node.phase] = times.get(each.node.phase, 0) + each.self_ns
    self_ns = sum(times.values())
    ordered = sorted(times.items(), key=lambda item: -item[1])
    phases = tuple(PhaseShare(phase, ns, ns / (self_ns or 1)) for phase, ns in ordered)
    return Overview(None, None, step_times(run, condition), None, phases, self_ns, whole_ns)
