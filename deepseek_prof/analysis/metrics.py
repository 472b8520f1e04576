"""The run's metrics in figures: latency and throughput, and what was sampled of the machine."""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_prof.trace.run import Run

PROGRAM_DEVICE = "program"
"""The ``device`` of numbers that the program itself told, such as losses, which have a section of their own."""
_BUSINESS = ("throughput_", "request_latency_", "step_latency_")


@dataclass(frozen=True)
class MetricStat:
    """A series of one device and rank. ``name``, ``device`` and ``unit`` are data. Figures are of finite values."""

    name: str
    device: str
    rank: int
    unit: str
    count: int
    median: float
    low: float
    high: float
    last: float


def metric_stats(run: Run) -> tuple[MetricStat, ...]:
    """All series: throughput and latency first, then the others by device and name.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    rows = run.rows(
        "SELECT name, coalesce(device, ''), rank, coalesce(unit, ''), count(*), median(value), min(value), max(value), "
        "arg_max(value, ts_ns) FROM counters WHERE isfinite(value) AND device IS DISTINCT FROM ? GROUP BY 1, 2, 3, 4",
        [PROGRAM_DEVICE],
    )
    return tuple(sorted((MetricStat(*row) for row in rows), key=_order))


def is_business(name: str) -> bool:
    """Whether a metric tells of throughput or latency."""
    return name.startswith(_BUSINESS)


def _order(stat: MetricStat) -> tuple[int, str, str, int]:
    kind = next((place for place, start in enumerate(_BUSINESS) if stat.name.startswith(start)), len(_BUSINESS))
    return kind, stat.device, stat.name, stat.rank
