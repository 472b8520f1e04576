"""Large operators on a few of many CPUs."""

from __future__ import annotations

from statistics import fmean

from deepseek_prof.analysis.findings.concurrency import intra_op_threads
from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, percent
from deepseek_prof.text import counted

LARGE_NS = 200_000
MIN_SHARE = 0.30
MIN_CPUS_A_THREAD = 2
MAX_CPUS_WITH_SIBLINGS = 2.5
"""Up to here the idle CPUs may be hardware siblings of the busy ones, which torch leaves idle by default."""
MAX_BUSY = 0.5
_SLACK = 1.15
"""Counters average over Python and start-up: one busy thread reads a little above or below 100 %."""
_TYPES = frozenset({"matmul", "conv", "attention"})


def too_few_threads(evidence: Evidence) -> Finding | None:
    """Matrix products of 200 µs and more hold 30 % of the step, and half of the CPUs or more have no thread.

    With two CPUs a thread, only a process held to a single thread counts: torch's own default is one thread a core,
    which is half of the logical CPUs.
    """
    threads = intra_op_threads(evidence)
    if threads is None or threads.count * MIN_CPUS_A_THREAD > threads.cpus:
        return None
    ratio = threads.cpus / threads.count
    if ratio <= MAX_CPUS_WITH_SIBLINGS and max(threads.each) > 1:
        return None
    large = [
        each for each in evidence.calls if each.kind == "op" and each.type in _TYPES and each.mean_self_ns >= LARGE_NS
    ]
    share = evidence.share(sum(each.self_ns for each in large))
    busy = _busy_cpus(evidence)
    if share < MIN_SHARE or (busy is not None and busy > MAX_BUSY * _SLACK * threads.cpus):
        return None
    calls = sum(each.count for each in large)
    facts = [
        (
            f"{counted(threads.count, 'intra-op thread')} in {counted(threads.processes, 'process', 'processes')}, "
            f"{counted(threads.cpus, 'CPU')} to run on"
        ),
        (
            f"matmul, conv and attention operators of {duration(LARGE_NS)} and more take {percent(share)} of the step "
            f"({duration(sum(each.self_ns for each in large) / calls)} a call on average): large enough to share out"
        ),
    ]
    if busy is not None:
        facts.append(f"the program kept {busy:.1f} CPUs busy on average")
    speedup = max(1.0, 0.75 * threads.fair / (threads.count / threads.processes))
    if ratio <= MAX_CPUS_WITH_SIBLINGS:
        facts.append(
            "gain: none if these CPUs are siblings of one core; at most these operators at three quarters of ideal"
        )
        gain_low = 0.0
    else:
        facts.append(
            "gain: half of what twice the speed saves, at most these operators at three quarters of ideal speed"
        )
        gain_low = 0.25 * share
    gain_high = max(gain_low, share * (1 - 1 / speedup))
    launched = all(value == 1 for value in threads.each) and any(
        (each.get("world_size") or 1) > 1 for each in evidence.processes
    )
    return Finding(
        rule="too-few-threads",
        title=f"Large operators run on {threads.count} of {threads.cpus} CPUs",
        evidence=tuple(facts),
        gain_low=gain_low,
        gain_high=gain_high,
        advice=f"Set OMP_NUM_THREADS={threads.fair} or torch.set_num_threads({threads.fair}) in each process"
        + (" (torchrun sets OMP_NUM_THREADS=1 unless told otherwise)." if launched else "."),
        severity=severity_of(gain_high),
    )


def _busy_cpus(evidence: Evidence) -> float | None:
    """Mean number of busy CPUs of all ranks together, from the ``cpu`` counter (100 % is one CPU); None without it."""
    rows = evidence.run.rows(
        "SELECT rank, avg(value) FROM counters WHERE name = 'cpu' AND unit = 'percent' GROUP BY rank"
    )
    return len(rows) * fmean(value for _, value in rows) / 100 if rows else None
