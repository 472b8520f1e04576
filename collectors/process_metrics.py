"""Memory and CPU of the program and its children, once a second, from the parent."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import psutil

from deepseek_prof.interfaces import CounterSample

DEVICE = "host"
SEARCH_S = 5.0
"""New children are looked for this often, and whenever another process is recorded."""


class ProcessMetrics:
    """Sums over the process tree by rank: ``rss`` (bytes) and ``cpu`` (percent of one core, above 100 for several).

    ``rss`` is the sum of resident sets, in which memory that forked workers share counts for each of them.
    """

    name = "process_metrics"
    interval_s = 1.0

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._recorded: frozenset[int] = frozenset()
        self._search_due_s = 0.0

    def sample(self, root_pid: int, ranks: Mapping[int, int]) -> Iterator[CounterSample]:
        """The present sums; a child that is not recorded counts for the rank of its nearest recorded ancestor."""
        rss_bytes: dict[int, float] = defaultdict(float)
        cpu_percent: dict[int, float] = defaultdict(float)
        for process in self._tree(root_pid, frozenset(ranks)):
            try:
                resident_bytes = process.memory_info().rss
                if not resident_bytes:
                    continue  # a zombie: it has ended, and its parent has not asked yet
                rank = _rank(process, ranks)
                rss_bytes[rank] += resident_bytes
                cpu_percent[rank] += process.cpu_percent()
            except psutil.Error:
                continue  # it has just ended
        now_ns = time.time_ns()
        for rank, bytes_ in rss_bytes.items():
            yield CounterSample(now_ns, rank, DEVICE, "rss", bytes_, "bytes")
            yield CounterSample(now_ns, rank, DEVICE, "cpu", cpu_percent[rank], "percent")

    def _tree(self, root_pid: int, recorded: frozenset[int]) -> list[psutil.Process]:
        """The living processes; the same objects each time, since CPU is measured from one call to the next."""
        # To find children is to read of every process of the machine.
        if recorded != self._recorded or time.monotonic() >= self._search_due_s:
            self._recorded, self._search_due_s = recorded, time.monotonic() + SEARCH_S
            try:
                root = psutil.Process(root_pid)
                found = [root, *root.children(recursive=True)]
            except psutil.Error:
                found = []
            self._processes = {process.pid: self._processes.get(process.pid, process) for process in found}
        self._processes = {pid: process for pid, process in self._processes.items() if process.is_running()}
        return list(self._processes.values())


def _rank(process: psutil.Process, ranks: Mapping[int, int]) -> int:
    if process.pid in ranks:  # to ask for parents takes longer than all else here
        return ranks[process.pid]
    return next((ranks[parent.pid] for parent in process.parents()[:8] if parent.pid in ranks), 0)
