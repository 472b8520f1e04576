"""Single steps that take far longer than the others, and what was longer in them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, number, percent
from deepseek_prof.analysis.steps import Step, percentile

MIN_STEPS = 10
FACTOR = 2.0
DEVIATIONS = 5.0
MIN_SHARE = 0.01
FACTOR_ABOVE_P90 = 1.5
"""Lengths that a tenth of the steps reach are a pattern of the program (two optimizers in turn), not outliers."""
MAX_SHOWN = 4
MIN_PART = 0.2
"""A part of a step is named where it makes up a fifth of the excess."""


def slow_steps(evidence: Evidence) -> Finding | None:
    """Steady steps above twice the median, five median deviations and 1.5 times the p90 cost 1 % of the time."""
    stats = evidence.summary.steps
    if stats is None or evidence.reads_in_steps:
        return None
    processes: dict[tuple[int, int], list[Step]] = {}
    for step in evidence.step_times:
        if step.step >= stats.first:
            processes.setdefault((step.rank, step.pid), []).append(step)
    slow: list[tuple[Step, float]] = []
    for steps in processes.values():
        slow += _outliers(steps)
    whole = sum(step.dur_ns for steps in processes.values() for step in steps) or 1
    share = sum(excess for _, excess in slow) / whole
    if share < MIN_SHARE:
        return None
    slow.sort(key=lambda each: -each[1])
    shown = slow[:MAX_SHOWN]
    parts = _longer_parts(evidence, [step for step, _ in shown])
    several = len({step.rank for steps in processes.values() for step in steps}) > 1
    facts = [
        f"step {step.step}{f' of rank {step.rank}' if several else ''}: {duration(step.dur_ns)}, "
        f"{step.dur_ns / (step.dur_ns - excess):.1f} times the median; longer: {_name_parts(parts.get(step), excess)}"
        for step, excess in shown
    ]
    total = sum(len(steps) for steps in processes.values())
    facts.append(
        f"{len(slow)} of {number(total)} steady steps are far above the median {duration(stats.median_ns)}; "
        "what they take "
        f"beyond it is {percent(share)} of the time; gain: none where this work is needed, at most all of that"
    )
    return Finding(
        rule="slow-steps",
        title=f"{len(slow)} slow steps cost {percent(share)} of the time"
        if len(slow) > 1
        else f"Step {slow[0][0].step} costs {percent(share)} of the time",
        evidence=tuple(facts),
        gain_low=0.0,
        gain_high=share,
        advice="See what the named part does in these steps: the loader at the start of an epoch, checkpoints and "
        f"evaluation between steps, new input shapes. For one step: deepseek-prof top step:{slow[0][0].step}",
        severity=severity_of(share),
    )


def _outliers(steps: Sequence[Step]) -> list[tuple[Step, float]]:
    """Slow steps of one process, each with its time beyond the median."""
    if len(steps) < MIN_STEPS:
        return []
    middle = median(step.dur_ns for step in steps)
    spread = median(abs(step.dur_ns - middle) for step in steps)
    p90 = percentile(sorted(step.dur_ns for step in steps), 0.9)
    limit = max(FACTOR * middle, middle + DEVIATIONS * spread, FACTOR_ABOVE_P90 * p90)
    return [(step, step.dur_ns - middle) for step in steps if step.dur_ns > limit]


def _longer_parts(evidence: Evidence, steps: Sequence[Step]) -> dict[Step, dict[str, float]]:
    """For each step: what took longer than in a mean step of the window, in nanoseconds."""
    usual: dict[str, float] = {}
    for each in evidence.calls:
        part = _part(each.kind, each.name, each.phase)
        usual[part] = usual.get(part, 0.0) + evidence.per_step(each.self_ns)
    threads = {(each.rank, each.pid, each.tid) for each in evidence.summary.threads if each.drives_steps}
    marks = ", ".join("?" for _ in steps)
    rows = evidence.run.rows(
        f"SELECT rank, pid, tid, step, context_id, sum(self_ns)::BIGINT FROM raw_spans WHERE step IN ({marks}) "
        "GROUP BY rank, pid, tid, step, context_id",
        [step.step for step in steps],
    )
    found: dict[Step, dict[str, float]] = {}
    nodes = evidence.contexts
    for step in steps:
        own: dict[str, float] = {}
        for rank, pid, tid, index, context_id, self_ns in rows:
            node = nodes.get(context_id)
            if node is None or node.kind == "step" or (rank, pid, tid) not in threads:
                continue
            if evidence.summary.window.sampled and node.kind == "layer":
                continue  # recorded in the light steps too, where it holds the operators' time
            if (rank, pid, index) == (step.rank, step.pid, step.step):
                part = _part(node.kind, node.name, node.phase)
                own[part] = own.get(part, 0.0) + self_ns
        if not own:
            continue  # removed for the size limit, or left out for the overhead budget
        outside = step.dur_ns - sum(own.values()) - (evidence.wall_ns / max(1, evidence.steps) - sum(usual.values()))
        found[step] = {part: ns - usual.get(part, 0.0) for part, ns in own.items()}
        found[step]["time outside any operator (Python, files, other programs)"] = outside
    return found


def _part(kind: str, name: str, phase: str) -> str:
    if kind == "data":
        return "waiting for data"
    if kind == "layer":
        return f"Python in {phase} modules"
    return f"{name} in {phase}"


def _name_parts(parts: dict[str, float] | None, excess: float) -> str:
    if parts is None:
        return "unknown, its operators were not kept"
    named = sorted(((ns, part) for part, ns in parts.items() if ns >= MIN_PART * excess), reverse=True)
    return ", ".join(f"{part} (+{duration(ns)})" for ns, part in named[:2]) or "everything, in proportion"
