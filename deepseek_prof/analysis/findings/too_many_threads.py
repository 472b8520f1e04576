"""More intra-op threads than CPUs."""

from __future__ import annotations

from deepseek_prof.analysis.findings.concurrency import intra_op_threads
from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, number, percent

PARALLEL_NS = 50_000
"""Below this mean self time an operator is too small for ATen to share out (its grain is 32,768 elements)."""
MIN_SHARE = 0.20
_SETTLED = frozenset({"matmul"})
"""MKL lowers its own number of threads to that of the CPUs."""


def too_many_threads(evidence: Evidence) -> Finding | None:
    """The intra-op threads alive at one time exceed the CPUs, and operators that use them hold a fifth of the step."""
    threads = intra_op_threads(evidence)
    if threads is None or threads.count <= threads.cpus:
        return None
    parallel = [
        each
        for each in evidence.calls
        if each.kind == "op" and each.type not in _SETTLED and each.mean_self_ns >= PARALLEL_NS
    ]
    share = evidence.share(sum(each.self_ns for each in parallel))
    if share < MIN_SHARE:
        return None
    excess = threads.count / threads.cpus
    gain_high = share * (1 - 1 / excess)
    processes = "1 process" if threads.processes == 1 else f"{threads.processes} processes at one time"
    return Finding(
        rule="too-many-threads",
        title=f"{threads.count} intra-op threads on {threads.cpus} CPUs",
        evidence=(
            (
                f"{processes} with {number(threads.count / threads.processes)} intra-op threads each, "
                f"{threads.cpus} CPUs to "
                f"run on: {excess:.1f} threads a CPU"
            ),
            (
                f"operators of {duration(PARALLEL_NS)} and more, which share their work out, take "
                f"{percent(share)} of the step "
                "without matrix products, for which MKL takes no more threads than CPUs"
            ),
            (
                "gain: threads of one parallel region wait for the one that is not scheduled; at most the "
                "part of these "
                "operators' time in which a thread has no CPU (1 - CPUs/threads)"
            ),
        ),
        gain_low=0.0,
        gain_high=gain_high,
        advice=f"Set OMP_NUM_THREADS={threads.fair} or torch.set_num_threads({threads.fair}) in each process, "
        "before the "
        "first operator.",
        severity=severity_of(gain_high),
    )
