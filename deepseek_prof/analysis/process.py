"""What a run knows of itself: memory counters, the recorder's own overhead, and what was dropped."""

from __future__ import annotations

import math
from typing import Any

from deepseek_prof.analysis.results import Dropped, MemoryStat, Overhead
from deepseek_prof.trace.run import Run


def memory_stats(run: Run) -> tuple[MemoryStat, ...]:
    """First, peak and last of the ``rss`` counters, by rank and device."""
    rows = run.rows(
        "SELECT rank, device, arg_min(value, ts_ns), max(value), arg_max(value, ts_ns) FROM counters "
        "WHERE lower(name) IN ('rss', 'rss_bytes') AND isfinite(value) GROUP BY rank, device ORDER BY rank, device"
    )
    return tuple(
        MemoryStat(rank, device or "cpu", int(first), int(peak), int(last)) for rank, device, first, peak, last in rows
    )


def recorder_overhead(run: Run) -> Overhead | None:
    """The recorder's own cost as it measured it; None where no process did."""
    measured = [
        (process, process["overhead"]) for process in run.processes if isinstance(process.get("overhead"), dict)
    ]
    if not measured:
        return None
    total_ns = sum(_integer(overhead.get("total_ns")) for _, overhead in measured)
    ended_ns = _integer(run.info.get("ended_ns"))
    life_ns = sum(
        max(0, (_integer(process.get("ended_ns")) or ended_ns) - _integer(process.get("start_ns")))
        for process, _ in measured
    )
    first_process, first = measured[0]
    return Overhead(
        total_ns=total_ns,
        share=total_ns / life_ns if life_ns else 0.0,
        operator_ns=_number(first.get("operator_ns")),
        layer_ns=_number(first.get("layer_ns")),
        method=str(first.get("method") or ""),
        recorder=str(first_process.get("recorder") or ""),
    )


def dropped_spans(run: Run) -> tuple[Dropped, ...]:
    """What ``run.json`` says was dropped; a process's own count where the list does not name the process."""
    listed = [each for each in run.listed("dropped") if isinstance(each, dict)]
    found = [
        Dropped(_integer(each.get("pid")), str(each.get("reason") or ""), _integer(each.get("spans")))
        for each in listed
    ]
    known = {each.pid for each in found}
    for process in run.processes:
        count = _integer(process.get("dropped_spans"))
        pid = _integer(process.get("pid"))
        if count and pid not in known:
            found.append(Dropped(pid, str(process.get("dropped_reason") or ""), count))
    return tuple(each for each in found if each.spans or each.reason)


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return 0.0
    return float(value)


def _integer(value: Any) -> int:
    """Without a detour over float, which knows moments since the epoch only to 256 ns."""
    return value if isinstance(value, int) and not isinstance(value, bool) else int(_number(value))
