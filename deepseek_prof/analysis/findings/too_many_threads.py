"""More intra-op threads than CPUs."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import number


def too_many_threads(evidence: Evidence) -> Finding | None:
    """The intra-op threads of all training processes of the host exceed its CPUs."""
    threads = [int(each.get("intra_op_threads") or 0) for each in evidence.processes]
    cpus = int((evidence.run.info.get("host") or {}).get("cpu_count") or 0)
    if evidence.uses_cuda or not threads or not all(threads) or not cpus or sum(threads) <= cpus:
        return None
    excess = sum(threads) / cpus
    fair = max(1, cpus // len(threads))
    gain_high = min(0.5, 1 - 1 / excess)
    processes = "1 process" if len(threads) == 1 else f"{len(threads)} processes"
    return Finding(
        rule="too-many-threads",
        title=f"{sum(threads)} intra-op threads on {cpus} CPUs",
        evidence=(
            (
                f"{processes} with {number(sum(threads) / len(threads))} intra-op threads each, on a host with {cpus} CPUs: "
                f"{excess:.1f} threads a CPU"
            ),
            (
                "gain: threads of one parallel region wait for the one that is not scheduled; at most the part of the time "
                "in which a thread has no CPU (1 - CPUs/threads), assumed a fifth of that at least"
            ),
        ),
        gain_low=0.2 * gain_high,
        gain_high=gain_high,
        advice=f"Set OMP_NUM_THREADS={fair} or torch.set_num_threads({fair}) in each process, before the first operator.",
        severity=severity_of(gain_high),
    )
