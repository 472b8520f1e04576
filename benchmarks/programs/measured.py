"""What every benchmark program shares: timed steps, an optional Kineto session around them, and a result file."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.profiler

RESULT_VARIABLE = "BENCHMARK_RESULT"
BLOCK_NS = 100_000_000
"""Steps are timed in blocks of this length: long enough for what a recorder does once in many steps, and short enough
that most blocks miss what else the machine does."""
PROFILED_WARM_UP_STEPS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that ``run_steps`` reads."""
    parser.add_argument("--warm-up", type=int, default=100, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=500, help="timed steps")
    parser.add_argument("--kineto", action="store_true", help="record the timed steps with torch.profiler")
    parser.add_argument("--key-averages", action="store_true", help="with --kineto: time key_averages() too")


def run_steps(step: Callable[[], None], arguments: argparse.Namespace) -> None:
    """Run the steps and write what they cost to the result file, the moment of writing last."""
    for _ in range(arguments.warm_up):
        step()
    session = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) if arguments.kineto else None
    if session is not None:
        session.start()
        for _ in range(PROFILED_WARM_UP_STEPS):
            step()
    ends_ns = [time.perf_counter_ns()]
    for _ in range(arguments.steps):
        step()
        ends_ns.append(time.perf_counter_ns())
    result: dict[str, Any] = {
        "step_s": block_median_ns(ends_ns) / 1e9,
        "steps": arguments.warm_up + arguments.steps,
    }
    if session is not None:
        result |= _stop(session, arguments)
    result["peak_rss_bytes"] = peak_rss_bytes()
    result["threads"] = torch.get_num_threads()
    _write(result)


def block_median_ns(ends_ns: Sequence[int]) -> float:
    """Return the median over blocks of the mean step time in each, from the moments between steps."""
    means_ns: list[float] = []
    first = 0
    for index in range(1, len(ends_ns)):
        if ends_ns[index] - ends_ns[first] >= BLOCK_NS or (index == len(ends_ns) - 1 and not means_ns):
            means_ns.append((ends_ns[index] - ends_ns[first]) / (index - first))
            first = index
    return statistics.median(means_ns)


def peak_rss_bytes() -> int:
    """Return the peak resident size of this process (``VmHWM``, which ``exec`` resets, unlike ``ru_maxrss``)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status holds no VmHWM line")


def _stop(session: torch.profiler.profile, arguments: argparse.Namespace) -> dict[str, Any]:
    start_ns = time.perf_counter_ns()
    session.stop()
    if session.profiler is None or session.profiler.kineto_results is None:
        raise RuntimeError("torch.profiler recorded nothing")
    events = len(session.profiler.kineto_results.events())
    figures: dict[str, Any] = {
        "kineto_stop_s": (time.perf_counter_ns() - start_ns) / 1e9,
        "kineto_events": events,
        "kineto_steps": arguments.steps + PROFILED_WARM_UP_STEPS,
        # Read before key_averages(), which builds a Python object for every event.
        "kineto_peak_rss_bytes": peak_rss_bytes(),
    }
    if arguments.key_averages:
        start_ns = time.perf_counter_ns()
        session.key_averages()
        figures["kineto_key_averages_s"] = (time.perf_counter_ns() - start_ns) / 1e9
    return figures


def _write(result: dict[str, Any]) -> None:
    target = os.environ.get(RESULT_VARIABLE)
    text = json.dumps(result | {"end_monotonic_ns": time.monotonic_ns()})
    if target is None:
        print(text)
    else:
        Path(target).write_text(text, encoding="utf-8")
