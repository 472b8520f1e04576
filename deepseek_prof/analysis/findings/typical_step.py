"""One step that stands for the others: of median length, with its operators kept."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.steps import Step

_NEAR_STEPS = 15


def typical_step(evidence: Evidence) -> Step | None:
    """The step of median length among those of the window whose operators were kept; None without such a step."""
    steps = _by_length(evidence)
    return steps[(len(steps) - 1) // 2] if steps else None


def usual_durations_ns(evidence: Evidence, step: Step) -> dict[int, float]:
    """Median duration of a call of each context, over the steps of the process of ``step`` nearest to it in length.

    A median, because one interruption of a program of few steps is many times the work of a small operator.
    """
    near = [each for each in _by_length(evidence) if (each.rank, each.pid) == (step.rank, step.pid)]
    near.sort(key=lambda each: abs(each.dur_ns - step.dur_ns))
    numbers = sorted(each.step for each in near[:_NEAR_STEPS])
    rows = evidence.run.rows(
        "SELECT context_id, median(dur_ns) FROM raw_spans WHERE rank = ? AND pid = ? "
        f"AND step IN ({', '.join('?' * len(numbers))}) GROUP BY context_id",
        (step.rank, step.pid, *numbers),
    )
    return dict(rows)


def _by_length(evidence: Evidence) -> list[Step]:
    if evidence.summary.window.steps is None:
        return []
    first, last = evidence.summary.window.steps
    steps = [step for step in evidence.step_times if first <= step.step <= last]
    if evidence.summary.window.sampled:
        kept = set(
            evidence.run.rows(
                "SELECT DISTINCT rank, pid, step FROM spans WHERE kind = 'op' AND step BETWEEN ? AND ?", (first, last)
            )
        )
        steps = [step for step in steps if (step.rank, step.pid, step.step) in kept]
    steps.sort(key=lambda step: (step.dur_ns, step.rank, step.step))
    return steps


def driving_threads(evidence: Evidence, step: Step) -> set[int]:
    """The threads that drive the steps in the process of ``step``."""
    process = (step.rank, step.pid)
    return {each.tid for each in evidence.summary.threads if each.drives_steps and (each.rank, each.pid) == process}


def covered_ns(evidence: Evidence, step: Step) -> int:
    """Self time of everything recorded in a step on the thread that drives it."""
    threads = driving_threads(evidence, step)
    rows = evidence.run.rows(
        "SELECT tid, context_id, sum(self_ns)::BIGINT FROM raw_spans WHERE rank = ? AND pid = ? AND step = ? "
        "GROUP BY tid, context_id",
        (step.rank, step.pid, step.step),
    )
    steps = {context_id for context_id, node in evidence.contexts.items() if node.kind == "step"}
    return sum(self_ns for tid, context_id, self_ns in rows if tid in threads and context_id not in steps)
