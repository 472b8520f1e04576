"""The real driver: what it tells of a GPU at work."""

from __future__ import annotations

import pytest
import torch

from deepseek_prof.collectors.nvidia_metrics import NvidiaMetrics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() or torch.version.hip is not None, reason="no NVIDIA GPU"),
]


def test_a_gpu_at_work_is_seen() -> None:
    collector = NvidiaMetrics()
    list(collector.sample(1, {}))  # rates and activity are told from the second sample on
    square = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(2000):
        square @ square
    end.record()
    torch.cuda.synchronize()
    found = {each.name: each.value for each in collector.sample(1, {}) if each.device == "cuda:0"}
    assert 0 < found["memory_used"] <= found["memory_total"]
    assert found["sm_clock"] > 0
    for name in ("gpu_utilisation", "memory_busy", "sm_activity", "sm_occupancy", "tensor_activity", "dram_bandwidth"):
        assert 0 <= found.get(name, 0.0) <= 100
    if torch.cuda.get_device_capability() >= (9, 0) and "sm_activity" in found:
        assert found["sm_activity"] > 10
        assert found["tensor_activity"] > 1
        assert "memory_busy" not in found
    else:
        assert "memory_busy" in found
