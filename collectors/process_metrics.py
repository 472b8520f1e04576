"""Memory, CPU and disk traffic of the program and its children, once a second, from the parent."""

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
    """Sums over the process tree by rank: ``rss`` (bytes), ``cpu`` (percent of one core, above 100 for several),
    ``disk_read`` and ``disk_write`` (bytes a second); and of the machine ``network_rx`` and ``network_tx``.

    ``rss`` is the sum of resident sets, in which memory that forked workers share counts for each of them. Disk traffic
    is what reached the disks, not what the page cache answered. The kernel counts network traffic by machine (or by
    container) only; that of the loopback is left out.
    """

    name = "process_metrics"
    interval_s = 1.0

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._processes: dict[int, psutil.Process] = {}
        self._disk = _Rates()
        self._network = _Rates()
        self._recorded: frozenset[int] = frozenset()
        self._search_due_s = 0.0

    def sample(self, root_pid: int, ranks: Mapping[int, int]) -> Iterator[CounterSample]:
        """The present sums; a child that is not recorded counts for the rank of its nearest recorded ancestor."""
        rss_bytes: dict[int, float] = defaultdict(float)
        cpu_percent: dict[int, float] = defaultdict(float)
        disk: dict[int, list[float]] = {}
        for process in self._tree(root_pid, frozenset(ranks)):
            try:
                resident_bytes = process.memory_info().rss
                if not resident_bytes:
                    continue  # a zombie: it has ended, and its parent has not asked yet
                rank = _rank(process, ranks)
                rss_bytes[rank] += resident_bytes
                cpu_percent[rank] += process.cpu_percent()
                rates = self._disk_rates(process)
            except psutil.Error:
                continue  # it has just ended
            if rates is not None:
                disk[rank] = [sum(pair) for pair in zip(disk.get(rank, (0.0, 0.0)), rates, strict=True)]
        now_ns = time.time_ns()
        for rank, bytes_ in rss_bytes.items():
            yield CounterSample(now_ns, rank, DEVICE, "rss", bytes_, "bytes")
            yield CounterSample(now_ns, rank, DEVICE, "cpu", cpu_percent[rank], "percent")
        for rank, (read, written) in disk.items():
            yield CounterSample(now_ns, rank, DEVICE, "disk_read", read, "bytes/s")
            yield CounterSample(now_ns, rank, DEVICE, "disk_write", written, "bytes/s")
        received, sent = self._network.since_last(0, _network_bytes()) or (None, None)
        if received is not None and sent is not None:
            yield CounterSample(now_ns, 0, DEVICE, "network_rx", received, "bytes/s")
            yield CounterSample(now_ns, 0, DEVICE, "network_tx", sent, "bytes/s")

    def _disk_rates(self, process: psutil.Process) -> tuple[float, float] | None:
        try:
            io = process.io_counters()
        except (psutil.AccessDenied, NotImplementedError):  # another user's, as under sudo
            return None
        return self._disk.since_last(process.pid, (io.read_bytes, io.write_bytes))

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


class _Rates:
    """Makes rates a second of pairs of counts that only grow."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, tuple[int, int]]] = {}

    def since_last(self, key: int, counts: tuple[int, int]) -> tuple[float, float] | None:
        """The rates since the call before with this ``key``; None for the first, and where counts have begun anew."""
        now_ns = time.monotonic_ns()
        before_ns, before = self._last.get(key, (now_ns, counts))
        self._last[key] = now_ns, counts
        if now_ns <= before_ns or counts[0] < before[0] or counts[1] < before[1]:
            return None
        first, second = ((now - then) * 1e9 / (now_ns - before_ns) for now, then in zip(counts, before, strict=True))
        return first, second


def _network_bytes() -> tuple[int, int]:
    """Received and sent by all interfaces but the loopback."""
    found = [io for name, io in psutil.net_io_counters(pernic=True).items() if name != "lo"]
    return sum(io.bytes_recv for io in found), sum(io.bytes_sent for io in found)


def _rank(process: psutil.Process, ranks: Mapping[int, int]) -> int:
    if process.pid in ranks:  # to ask for parents takes longer than all else here
        return ranks[process.pid]
    return next((ranks[parent.pid] for parent in process.parents()[:8] if parent.pid in ranks), 0)
