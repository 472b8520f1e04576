"""How many CPUs a run could use, and how many intra-op threads were alive at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepseek_prof.analysis.findings.evidence import Evidence


@dataclass(frozen=True)
class Threads:
    """The largest number of intra-op threads of training processes that ran at the same time."""

    count: int
    processes: int
    """Processes among which they were spread."""
    cpus: int
    """CPUs that the run was allowed to use."""
    each: tuple[int, ...]
    """Intra-op threads of every one of these processes."""

    @property
    def fair(self) -> int:
        """An equal share of the CPUs for every process; at least 1."""
        return max(1, self.cpus // self.processes)


def intra_op_threads(evidence: Evidence) -> Threads | None:
    """The threads of the busiest moment; None where the run does not say, or computes on an accelerator.

    Processes that ran one after another share nothing: only those whose spans overlap in time are added.
    """
    cpus = usable_cpus(evidence)
    counts = {(int(each.get("rank") or 0), int(each.get("pid") or 0)): _count(each) for each in evidence.processes}
    if evidence.uses_cuda or not cpus or not counts or not all(counts.values()):
        return None
    together = _busiest(evidence, counts) if len(counts) > 1 else list(counts)
    each = tuple(counts[process] for process in together)
    return Threads(sum(each), len(each), cpus, each) if each else None


def usable_cpus(evidence: Evidence) -> int:
    """CPUs that the affinity mask left to the run, else those of the host; 0 where unknown."""
    host = evidence.run.info.get("host")
    if not isinstance(host, dict):
        return 0
    return int(host.get("usable_cpu_count") or host.get("cpu_count") or 0)


def _count(process: dict[str, Any]) -> int:
    return int(process.get("intra_op_threads") or 0)


def _busiest(evidence: Evidence, counts: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
    """The processes alive at the moment at which the most threads were."""
    lives = [
        ((rank, pid), start_ns, end_ns)
        for rank, pid, start_ns, end_ns in evidence.run.rows(
            "SELECT rank, pid, min(start_ns), max(start_ns + dur_ns) FROM raw_spans GROUP BY rank, pid"
        )
        if (rank, pid) in counts
    ]
    moments = [
        [process for process, start_ns, end_ns in lives if start_ns <= moment < end_ns] for _, moment, _ in lives
    ]
    return max(moments, key=lambda alive: sum(counts[each] for each in alive), default=[])
