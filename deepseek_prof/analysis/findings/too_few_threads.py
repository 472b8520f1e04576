"""Large operators on a few of many CPUs."""

from __future__ import annotations

from statistics import fmean

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, percent

LARGE_NS = 200_000
MIN_SHARE = 0.30
MIN_CPUS_A_THREAD = 4
MAX_BUSY = 0.5
_TYPES = frozenset({"matmul", "conv", "attention"})


def too_few_threads(evidence: Evidence) -> Finding | None:
    """Matrix products of 200 µs and more hold 30 % of the step, and at least three quarters of the CPUs have no thread."""
    threads = [int(each.get("intra_op_threads") or 0) for each in evidence.processes]
    cpus = int((evidence.run.info.get("host") or {}).get("cpu_count") or 0)
    if evidence.uses_cuda or not threads or not all(threads) or sum(threads) * MIN_CPUS_A_THREAD > cpus:
        return None
    large = [
        each for each in evidence.calls if each.kind == "op" and each.type in _TYPES and each.mean_self_ns >= LARGE_NS
    ]
    share = evidence.share(sum(each.self_ns for each in large))
    busy = _busy_cpus(evidence)
    if share < MIN_SHARE or (busy is not None and busy > MAX_BUSY * cpus):
        return None
    fair = max(1, cpus // len(threads))
    calls = sum(each.count for each in large)
    facts = [
        f"{sum(threads)} intra-op threads in {len(threads)} processes, on a host with {cpus} CPUs",
        (
            f"matmul, conv and attention operators of {duration(LARGE_NS)} and more take {percent(share)} of the step "
            f"({duration(sum(each.self_ns for each in large) / calls)} a call on average): large enough to share out"
        ),
    ]
    if busy is not None:
        facts.append(f"the program kept {busy:.1f} CPUs busy on average")
    facts.append("gain: these operators at twice the speed, at most at the speed of all CPUs but one in four")
    speedup = max(2.0, 0.75 * fair / (sum(threads) / len(threads)))
    launched = all(value == 1 for value in threads) and any(
        (each.get("world_size") or 1) > 1 for each in evidence.processes
    )
    return Finding(
        rule="too-few-threads",
        title=f"Large operators run on {sum(threads)} of {cpus} CPUs",
        evidence=tuple(facts),
        gain_low=0.5 * share * 0.5,
        gain_high=share * (1 - 1 / speedup),
        advice=f"Set OMP_NUM_THREADS={fair} or torch.set_num_threads({fair}) in each process"
        + (" (torchrun sets OMP_NUM_THREADS=1 unless told otherwise)." if launched else "."),
        severity=severity_of(share * (1 - 1 / speedup)),
    )


def _busy_cpus(evidence: Evidence) -> float | None:
    """Mean number of busy CPUs of all ranks together, from the ``cpu`` counter (100 % is one CPU); None without it."""
    rows = evidence.run.rows(
        "SELECT rank, avg(value) FROM counters WHERE name = 'cpu' AND unit = 'percent' GROUP BY rank"
    )
    return len(rows) * fmean(value for _, value in rows) / 100 if rows else None
