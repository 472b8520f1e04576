"""Findings: what makes a program slow, with evidence, an estimated gain and what to do. One rule a file.

To add a rule: write one function from :class:`Evidence` to a :class:`Finding` or None in a file of its own, name it in
``RULES``, add a test and a row in ``docs/findings.md``.
"""

from __future__ import annotations

from collections.abc import Callable

from deepseek_prof.analysis.findings.conv_layout import conv_layout
from deepseek_prof.analysis.findings.copies import copies
from deepseek_prof.analysis.findings.data_stall import data_stall
from deepseek_prof.analysis.findings.eager_graph import eager_graph
from deepseek_prof.analysis.findings.evidence import Evidence, gather
from deepseek_prof.analysis.findings.gradient_zeroing import gradient_zeroing
from deepseek_prof.analysis.findings.model import Finding, Severity
from deepseek_prof.analysis.findings.not_finite_loss import not_finite_loss
from deepseek_prof.analysis.findings.optimizer_on_cpu import optimizer_on_cpu
from deepseek_prof.analysis.findings.outside_operators import outside_operators
from deepseek_prof.analysis.findings.slow_steps import slow_steps
from deepseek_prof.analysis.findings.small_operators import small_operators
from deepseek_prof.analysis.findings.synchronisation import synchronisation
from deepseek_prof.analysis.findings.too_few_threads import too_few_threads
from deepseek_prof.analysis.findings.too_many_threads import too_many_threads
from deepseek_prof.analysis.findings.unfused_attention import unfused_attention
from deepseek_prof.analysis.findings.warmup import warmup
from deepseek_prof.analysis.results import Summary
from deepseek_prof.trace.run import Run

__all__ = ["RULES", "Evidence", "Finding", "Rule", "Severity", "find", "gather"]

Rule = Callable[[Evidence], Finding | None]

RULES: dict[str, Rule] = {
    "not-finite-loss": not_finite_loss,
    "data-stall": data_stall,
    "small-operators": small_operators,
    "optimizer-on-cpu": optimizer_on_cpu,
    "too-many-threads": too_many_threads,
    "too-few-threads": too_few_threads,
    "conv-layout": conv_layout,
    "synchronisation": synchronisation,
    "eager-graph": eager_graph,
    "unfused-attention": unfused_attention,
    "copies": copies,
    "gradient-zeroing": gradient_zeroing,
    "outside-operators": outside_operators,
    "slow-steps": slow_steps,
    "warmup": warmup,
}

_ORDER = {"high": 0, "medium": 1, "low": 2}


def find(run: Run, summary: Summary) -> tuple[Finding, ...]:
    """All findings of a run, the largest estimated gain first; ``summary`` is that of the whole run.

    Raises:
        RunDamagedError: a file of the run turned out to be damaged.
    """
    evidence = gather(run, summary)
    found = [finding for rule in RULES.values() if (finding := rule(evidence)) is not None]
    return tuple(sorted(found, key=lambda each: (_ORDER[each.severity], -each.gain_high, each.rule)))
