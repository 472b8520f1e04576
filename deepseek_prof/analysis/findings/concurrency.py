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

    Processes that ran one after another share nothing: only those whose lives overlap are added.
    """
    cpus = usable_cpus(evidence)
    processes = evidence.processes
    if evidence.uses_cuda or not cpus or not processes or not all(_count(each) for each in processes):
        return None
    together = max((_alive(processes, _start_ns(each)) for each in processes), key=sum)
    return Threads(sum(together), len(together), cpus, together)


def usable_cpus(evidence: Evidence) -> int:
    """CPUs that the affinity mask left to the run, else those of the host; 0 where unknown."""
    host = evidence.run.info.get("host")
    if not isinstance(host, dict):
        return 0
    return int(host.get("usable_cpu_count") or host.get("cpu_count") or 0)


def _count(process: dict[str, Any]) -> int:
    return int(process.get("intra_op_threads") or 0)


def _start_ns(process: dict[str, Any]) -> float:
    return float(process.get("start_ns") or 0)


def _alive(processes: tuple[dict[str, Any], ...], moment_ns: float) -> tuple[int, ...]:
    """The threads of every process that lives at a moment of the host's clock; one without an end lives on."""
    return tuple(
        _count(each) for each in processes if _start_ns(each) <= moment_ns < float(each.get("ended_ns") or "inf")
    )
