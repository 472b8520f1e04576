"""Latency and throughput from recorded steps and input totals, and the totals' file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.business_metrics import ProcessThroughput
from deepseek_prof.recording.input_totals import FILE_NAME, InputTotals, InputTotalsWriter, read_input_totals
from deepseek_prof.recording.metric_hub import MetricHub
from deepseek_prof.recording.steps import StepBoundaries

MS = 1_000_000
S = 1_000 * MS
OFFSET_NS = 10**18


def steps(durations_ns: list[int], call_ns: list[int] | None = None) -> StepBoundaries:
    """Steps one after another from 5 s on."""
    ends = np.cumsum(np.array(durations_ns, np.int64)) + 5 * S
    starts = np.concatenate([[5 * S], ends[:-1]]).astype(np.int64)
    durations = np.array(durations_ns, np.int64)
    return StepBoundaries(starts, durations, durations if call_ns is None else np.array(call_ns, np.int64))


def values(hub: MetricHub) -> dict[str, float]:
    return {sample.name: sample.value for sample in hub.latest()}


def test_steps_become_latency_and_throughput_once_a_second() -> None:
    hub = MetricHub()
    seen: list[CounterSample] = []
    hub.subscribe(seen.append)
    process = ProcessThroughput(hub)
    durations = [100 * MS] * 30
    for count in range(1, 31):
        process.refresh_steps(steps(durations[:count]), 2, OFFSET_NS, 0, ended=False)
    rates = [sample for sample in seen if sample.name == "throughput_steps"]
    assert [sample.ts_ns for sample in rates] == [OFFSET_NS + second * S for second in (6, 7, 8)]
    assert {(sample.rank, sample.unit, sample.value) for sample in rates} == {(2, "1/s", 10.0)}
    assert values(hub)["step_latency_p99"] == pytest.approx(100 * MS, rel=0.01)
    assert not [name for name in values(hub) if name.startswith("request")]


def test_the_end_tells_what_is_left() -> None:
    hub = MetricHub()
    process = ProcessThroughput(hub)
    process.refresh_steps(steps([20 * MS] * 10), 0, OFFSET_NS, 0, ended=False)
    assert values(hub) == {}
    process.refresh_steps(steps([20 * MS] * 10), 0, OFFSET_NS, 0, ended=True)
    assert values(hub)["throughput_steps"] == pytest.approx(50.0)


def test_calls_of_roots_are_requests() -> None:
    hub = MetricHub()
    ProcessThroughput(hub).refresh_steps(steps([100 * MS] * 20, [7 * MS] * 19 + [90 * MS]), 0, OFFSET_NS, 0, ended=True)
    assert values(hub)["request_latency_p50"] == pytest.approx(7 * MS, rel=0.01)
    assert values(hub)["step_latency_p50"] == pytest.approx(100 * MS, rel=0.01)


def test_a_program_that_hangs_loses_throughput() -> None:
    hub = MetricHub()
    process = ProcessThroughput(hub)
    done = steps([100 * MS] * 10)
    process.refresh_steps(done, 0, OFFSET_NS, 6 * S, ended=False)
    assert values(hub)["throughput_steps"] == 10.0
    process.refresh_steps(done, 0, OFFSET_NS, 8 * S, ended=False)
    assert values(hub)["throughput_steps"] == 10.0
    process.refresh_steps(done, 0, OFFSET_NS, 16 * S, ended=False)
    assert values(hub)["throughput_steps"] == pytest.approx(0.1)


def test_a_hang_within_an_interval_is_told_too() -> None:
    hub = MetricHub()
    process = ProcessThroughput(hub)
    done = steps([100 * MS] * 25)
    for now_s in range(8, 400, 4):
        process.refresh_steps(done, 0, OFFSET_NS, now_s * S, ended=False)
    assert values(hub)["throughput_steps"] < 0.01
    assert len(done.start_ns) == 25


def test_samples_and_tokens_a_second() -> None:
    hub = MetricHub()
    process = ProcessThroughput(hub)
    process.refresh_inputs(InputTotals(1 * S, 1, 8, 80), 1, OFFSET_NS, ended=False)
    process.refresh_inputs(InputTotals(3 * S, 21, 168, 1680), 1, OFFSET_NS, ended=False)
    assert values(hub) == {"throughput_samples": 80.0, "throughput_tokens": 800.0}
    assert {sample.ts_ns for sample in hub.latest()} == {OFFSET_NS + 3 * S}


def test_inputs_without_tokens_tell_none() -> None:
    hub = MetricHub()
    process = ProcessThroughput(hub)
    process.refresh_inputs(InputTotals(1 * S, 1, 8, 0), 0, OFFSET_NS, ended=False)
    process.refresh_inputs(InputTotals(2 * S, 2, 16, 0), 0, OFFSET_NS, ended=False)
    assert values(hub) == {"throughput_samples": 8.0}


def test_totals_are_read_as_written(tmp_path: Path) -> None:
    assert read_input_totals(tmp_path) is None
    writer = InputTotalsWriter(tmp_path)
    assert read_input_totals(tmp_path) is None, "nothing was counted yet"
    writer.write(123, 4, 5, 6)
    writer.write(456, 7, 8, 9)
    assert read_input_totals(tmp_path) == InputTotals(456, 7, 8, 9)


@pytest.mark.parametrize("data", [b"", b"foreign", b"\0" * 48, b"DSPINP1\0" + b"\1" + b"\0" * 39])
def test_a_damaged_or_half_written_file_tells_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    assert read_input_totals(tmp_path) is None
