"""What is told of NVIDIA GPUs when the driver answers, refuses, and goes away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from deepseek_prof.collectors.nvidia_metrics import NvidiaMetrics, visible_devices
from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.counters import CounterWriter
from tests.metrics.fake_nvml import FakeNvml


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return FakeNvml(monkeypatch)


def values(samples: Iterator[CounterSample], device: str = "cuda:0") -> dict[str, tuple[float, str]]:
    return {each.name: (each.value, each.unit) for each in samples if each.device == device}


def test_what_an_older_gpu_tells(driver: FakeNvml) -> None:
    driver.throttle_bits = pynvml.nvmlClocksEventReasonSwPowerCap
    found = values(NvidiaMetrics().sample(1, {}))
    assert found["gpu_utilisation"] == (70.0, "percent")
    assert found["memory_busy"] == (30.0, "percent")
    assert found["memory_used"] == (float(3 << 30), "bytes")
    assert found["power"] == (301.5, "W")
    assert found["temperature"] == (61.0, "C")
    assert found["sm_clock"] == (1980.0, "MHz")
    assert found["memory_clock"] == (2619.0, "MHz")
    assert found["pcie_tx"] == (5000.0, "bytes/s")
    assert found["throttled_power_cap"] == (1.0, "")
    assert found["throttled_thermal_hardware"] == (0.0, "")
    assert not {"sm_activity", "tensor_activity", "dram_bandwidth"} & set(found)


def test_links_are_told_as_rates(driver: FakeNvml) -> None:
    collector = NvidiaMetrics()
    assert "nvlink_tx" not in values(collector.sample(1, {}))
    driver.link_kib = 1 << 20
    assert values(collector.sample(1, {}))["nvlink_tx"][0] > 0


def test_what_is_refused_is_absent_told_once_and_the_rest_goes_on(driver: FakeNvml) -> None:
    driver.failures["nvmlDeviceGetPowerUsage"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    driver.failures["nvmlDeviceGetCurrentClocksThrottleReasons"] = pynvml.NVML_ERROR_NO_PERMISSION
    collector = NvidiaMetrics()
    first, second = values(collector.sample(1, {})), values(collector.sample(1, {}))
    assert "power" not in first
    assert "throttled_power_cap" not in second
    assert second["temperature"] == (61.0, "C")
    assert collector.warnings == [
        "cuda:0 does not tell power: Not Supported",
        "cuda:0 does not tell throttling: Insufficient Permissions",
        "cuda:1 does not tell power: Not Supported",
        "cuda:1 does not tell throttling: Insufficient Permissions",
    ]


def test_what_fails_for_a_moment_is_asked_again(driver: FakeNvml) -> None:
    collector = NvidiaMetrics()
    driver.failures["nvmlDeviceGetUtilizationRates"] = pynvml.NVML_ERROR_TIMEOUT
    assert "gpu_utilisation" not in values(collector.sample(1, {}))
    del driver.failures["nvmlDeviceGetUtilizationRates"]
    assert "gpu_utilisation" in values(collector.sample(1, {}))
    assert collector.warnings == []


def test_a_driver_that_goes_away_ends_its_gpus_only(driver: FakeNvml) -> None:
    collector = NvidiaMetrics()
    assert values(collector.sample(1, {}))
    driver.failures["nvmlDeviceGetUtilizationRates"] = pynvml.NVML_ERROR_GPU_IS_LOST
    assert not list(collector.sample(1, {}))
    assert not list(collector.sample(1, {}))
    assert [each.split(":", 2)[1].split()[0] for each in collector.warnings] == ["0", "1"]
    assert all("is sampled no longer" in each for each in collector.warnings)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, []),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, []),
        (pynvml.NVML_ERROR_NO_PERMISSION, ["NVIDIA GPUs are not sampled: Insufficient Permissions"]),
    ],
)
def test_without_a_driver_there_is_nothing(driver: FakeNvml, status: int, told: list[str]) -> None:
    driver.failures["nvmlInitWithFlags"] = status
    collector = NvidiaMetrics()
    assert not list(collector.sample(1, {}))
    assert collector.warnings == told


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-b", [1]),
        ("1,-1,0", [1]),
        ("0,0", [0]),
        ("GPU-", []),
        ("7", []),
    ],
)
def test_gpus_are_numbered_as_the_program_sees_them(visible: str | None, indices: list[int]) -> None:
    assert visible_devices(["GPU-a", "GPU-b", "GPU-c"], visible) == indices


def test_warnings_become_events_and_a_collector_that_fails_stops_alone(driver: FakeNvml, tmp_path: Path) -> None:
    class Failing(NvidiaMetrics):
        name = "failing"

        def sample(self, *_: object) -> Iterator[CounterSample]:
            raise RuntimeError("odd")

    driver.failures["nvmlDeviceGetPowerUsage"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    writer = CounterWriter(tmp_path, os.getpid(), [Failing(), NvidiaMetrics()])
    writer.poll()
    (log,) = tmp_path.glob("logs/*/*/*.jsonl")
    told = [json.loads(line)["fields"]["message"] for line in log.read_text().splitlines()]
    assert told[0] == "failing stopped: RuntimeError: odd"
    assert told[1:] == [f"cuda:{index} does not tell power: Not Supported" for index in (0, 1)]
