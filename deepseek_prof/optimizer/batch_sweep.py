"""Throughput by batch size: one process at the captured call, which is given more and more rows.

No pass: a pass keeps the arguments of a call, and a batch size changes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepseek_prof.optimizer.candidate import Candidate, CandidateError, Target, prepared
from deepseek_prof.optimizer.results import BatchResult
from deepseek_prof.optimizer.rounds import figures, repeats_for
from deepseek_prof.optimizer.timing import Ratio, interleave, is_win, ratio

ROUNDS = 15
_MAX_REPEATS = 100
_HEADROOM = 0.9
"""Of the memory that is available, what a batch may be expected to take."""


@dataclass(frozen=True)
class Limits:
    """What a batch size has to keep."""

    latency_s: float = math.inf
    """Of the 99th percentile of a call."""
    timeout_s: float = 300.0


def sweep(
    target: Target, passes: Sequence[tuple[str, dict[str, Any]]], sizes: Sequence[int], limits: Limits, seed: int = 0
) -> tuple[BatchResult, ...]:
    """Measure the sizes, and the captured one, beside each other; the first row is the captured one.

    Rounds are shuffled; a size is ``better`` where its rows per second, against the captured size in the same rounds,
    clear 1 and what the captured size shows against itself, and ``best`` is the fastest of those within the limits.

    Raises:
        CandidateError: the program did not reach the call.
    """
    process, answer = prepared(target, passes, limits.timeout_s)
    with process:
        if answer["status"] != "ready":
            raise CandidateError(str(answer["reason"]))
        captured, rows = _probe(process, sizes, limits)
        usable = [row for row in rows if row.status == "measured"]
        if captured is None or not usable:
            return tuple(rows)
        return (*_timed(process, captured, usable, limits, seed), *(row for row in rows if row.status != "measured"))


def _probe(process: Candidate, sizes: Sequence[int], limits: Limits) -> tuple[int | None, list[BatchResult]]:
    """Call every size once, smallest first, until memory or patience would not do for the next one."""
    try:
        captured = int(process.ask({"do": "batch", "rows": None, "repeats": 1}, limits.timeout_s)["rows"])
    except CandidateError as error:
        return None, [BatchResult(rows, "failed", str(error)) for rows in sorted(set(sizes))]
    found: list[BatchResult] = []
    stop: str | None = None
    bytes_a_row = 0.0
    available = math.inf
    for rows in sorted({*sizes, captured}):
        if stop is None and bytes_a_row * rows > _HEADROOM * available:
            stop = f"would take about {bytes_a_row * rows / 2**20:,.0f} MiB, and {available / 2**20:,.0f} MiB are free"
        if stop is not None:
            found.append(BatchResult(rows, "skipped", stop))
            continue
        try:
            told = process.ask({"do": "batch", "rows": rows, "repeats": 1}, limits.timeout_s)
        except CandidateError as error:
            stop = str(error)
            found.append(BatchResult(rows, "failed", stop))
            continue
        bytes_a_row, available = told["extra_bytes"] / rows, told["available_bytes"]
        found.append(BatchResult(rows, "measured", None, extra_bytes=told["extra_bytes"]))
        if min(told["calls_ns"]) > limits.latency_s * 1e9:
            stop = "a smaller batch takes longer than the latency limit already"
    return captured, found


def _timed(
    process: Candidate, captured: int, rows: Sequence[BatchResult], limits: Limits, seed: int
) -> list[BatchResult]:
    sizes = [row.rows for row in rows]
    order = [captured, captured, *(size for size in sizes if size != captured)]  # twice: the A/A control
    timers = [_timer(process, size, limits) for size in order]
    samples = interleave(timers, ROUNDS, seed)
    control = ratio(samples[0], samples[1])
    by_size = dict(zip(order[1:], samples[1:], strict=True)) | {captured: samples[0]}
    made = []
    for row in rows:
        taken = by_size[row.rows]
        gained = _scaled(ratio(samples[0], taken), row.rows / captured)
        shown = figures(taken, row.extra_bytes or 0, None)
        slow = shown.p99_ns > limits.latency_s * 1e9
        better = row.rows != captured and is_win(gained, control)
        made.append(
            replace(
                row,
                status="too slow" if slow else "better" if better else "measured",
                median_ns=shown.median_ns,
                p99_ns=shown.p99_ns,
                rows_per_s=shown.calls_per_s * row.rows,
                speedup=gained.median,
                interval=(gained.low, gained.high),
            )
        )
    best = max((row for row in made if row.status == "better"), key=lambda row: row.speedup or 0.0, default=None)
    made = [replace(row, status="best") if row is best else row for row in made]
    return sorted(made, key=lambda row: (row.rows != captured, row.rows))


def _timer(process: Candidate, rows: int, limits: Limits) -> Callable[[], list[int]]:
    def take(repeats: int) -> list[int]:
        message = {"do": "batch", "rows": rows, "repeats": repeats}
        return list(process.ask(message, limits.timeout_s)["calls_ns"])

    repeats = repeats_for(min(take(3)), _MAX_REPEATS)
    return lambda: take(repeats)


def _scaled(found: Ratio, factor: float) -> Ratio:
    """A speed-up of calls as one of rows."""
    return Ratio(found.median * factor, found.low * factor, found.high * factor)
