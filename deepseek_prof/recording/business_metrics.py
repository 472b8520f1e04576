"""Latency and throughput of the program, from its steps and from what its root module is called with.

Published about once a second as ``step_latency_p50|p90|p99`` and ``request_latency_p50|p90|p99`` (ns, over the last ten
seconds), ``throughput_steps``, ``throughput_samples`` and ``throughput_tokens`` (1/s). See docs/metrics.md.
"""

from __future__ import annotations

import time

from deepseek_prof.recording.input_totals import InputTotals, read_input_totals
from deepseek_prof.recording.latency import WindowedLatency
from deepseek_prof.recording.live_process import LiveProcess
from deepseek_prof.recording.metric_hub import MetricHub
from deepseek_prof.recording.steps import StepBoundaries

INTERVAL_NS = 1_000_000_000
STALLED_INTERVALS = 3
"""A program without an end of a step for so many intervals tells that its throughput falls."""


class BusinessMetrics:
    """All processes of a run; call :meth:`refresh` a few times a second."""

    def __init__(self, hub: MetricHub) -> None:
        self._hub = hub
        self._processes: dict[str, ProcessThroughput] = {}

    def refresh(self, process: LiveProcess, rank: int, offset_ns: int, alive: bool) -> None:
        """Publish what is new of a process; ``offset_ns`` leads from its clock to the Unix epoch."""
        found = self._processes.setdefault(process.directory.name, ProcessThroughput(self._hub))
        now_ns = time.monotonic_ns()
        found.refresh_steps(process.steps.boundaries, rank, offset_ns, now_ns, ended=not alive)
        totals = read_input_totals(process.directory)
        if totals is not None:
            found.refresh_inputs(totals, rank, offset_ns, ended=not alive)


class ProcessThroughput:
    """One process. Times that come in are of its clock, CLOCK_MONOTONIC."""

    def __init__(self, hub: MetricHub) -> None:
        self._hub = hub
        self._steps = WindowedLatency()
        self._requests = WindowedLatency()
        self._seen = 0
        self._since = 0
        """Steps that had ended when the present interval began."""
        self._since_ns: int | None = None
        self._last_rate = 0.0
        self._stall_due_ns = 0
        self._inputs: InputTotals | None = None

    def refresh_steps(self, boundaries: StepBoundaries, rank: int, offset_ns: int, now_ns: int, *, ended: bool) -> None:
        """Count the steps that are new; publish once an interval is over, with ``ended`` what is left too."""
        fresh = slice(self._seen, None)
        for start_ns, dur_ns, call_ns in zip(
            boundaries.start_ns[fresh].tolist(),
            boundaries.dur_ns[fresh].tolist(),
            boundaries.call_ns[fresh].tolist(),
            strict=True,
        ):
            if self._since_ns is None:
                self._since_ns = start_ns
            self._seen += 1
            self._steps.add(dur_ns)
            if 0 < call_ns < dur_ns:
                self._requests.add(call_ns)
            if start_ns + dur_ns - self._since_ns >= INTERVAL_NS:
                self._publish(start_ns + dur_ns, rank, offset_ns)
        if self._since_ns is None:
            return
        end_ns = int(boundaries.start_ns[-1] + boundaries.dur_ns[-1])
        if ended and self._seen > self._since:
            self._publish(end_ns, rank, offset_ns)
        elif not ended:
            self._tell_stall(end_ns, now_ns, rank, offset_ns)

    def _publish(self, end_ns: int, rank: int, offset_ns: int) -> None:
        assert self._since_ns is not None
        ts_ns = end_ns + offset_ns
        # Requests first: an alert on "latency" means theirs where there are any.
        for kind, latency in (("request_latency", self._requests), ("step_latency", self._steps)):
            for name, value in latency.close_interval(end_ns).items():
                self._hub.publish(f"{kind}_{name}", value, "ns", rank=rank, ts_ns=ts_ns)
        self._last_rate = (self._seen - self._since) * 1e9 / max(1, end_ns - self._since_ns)
        self._hub.publish("throughput_steps", self._last_rate, "1/s", rank=rank, ts_ns=ts_ns)
        self._since, self._since_ns = self._seen, end_ns

    def _tell_stall(self, end_ns: int, now_ns: int, rank: int, offset_ns: int) -> None:
        """No step has ended for long, the last one at ``end_ns``: the rate is at most one in the time since then."""
        elapsed_ns = now_ns - end_ns
        if elapsed_ns < STALLED_INTERVALS * INTERVAL_NS or now_ns < self._stall_due_ns:
            return
        if self._seen > self._since:
            self._publish(end_ns, rank, offset_ns)
        bound = 1e9 / elapsed_ns
        if bound < self._last_rate:
            self._hub.publish("throughput_steps", bound, "1/s", rank=rank, ts_ns=now_ns + offset_ns)
            self._stall_due_ns = now_ns + INTERVAL_NS

    def refresh_inputs(self, totals: InputTotals, rank: int, offset_ns: int, *, ended: bool) -> None:
        """Publish how many samples and tokens a second the root module took since the last time."""
        before = self._inputs
        if before is None:
            self._inputs = totals
            return
        elapsed_ns = totals.ts_ns - before.ts_ns
        if elapsed_ns < INTERVAL_NS and not (ended and elapsed_ns > 0):
            return
        self._inputs = totals
        for name, count in (
            ("throughput_samples", totals.samples - before.samples),
            ("throughput_tokens", totals.tokens - before.tokens),
        ):
            if count:
                self._hub.publish(name, count * 1e9 / elapsed_ns, "1/s", rank=rank, ts_ns=totals.ts_ns + offset_ns)
