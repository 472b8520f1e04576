"""Peaks of devices by the names that their drivers give."""

from __future__ import annotations

import pytest

from deepseek_prof.analysis.device_peaks import peaks_of

DEVICES = [
    ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM"),
    ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
    ("NVIDIA A100-PG509-200", "A100 40GB"),
    ("NVIDIA H100 80GB HBM3", "H100 SXM"),
    ("NVIDIA H100 PCIe", "H100 PCIe"),
    ("NVIDIA H200", "H200 SXM"),
    ("Tesla V100-SXM2-32GB", "V100 SXM2"),
    ("Tesla V100-PCIE-16GB", "V100 PCIe"),
    ("NVIDIA L4", "L4"),
    ("NVIDIA A10", "A10"),
    ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
    ("AMD Instinct MI300X", "Instinct MI300X"),
    ("Gaudi2", "Gaudi 2"),
    ("NVIDIA L40S", None),
    ("NVIDIA A10G", None),
    ("NVIDIA GeForce RTX 4090 D", None),
    ("", None),
]


@pytest.mark.parametrize(("name", "expected"), DEVICES)
def test_devices_by_name(name: str, expected: str | None) -> None:
    found = peaks_of(name)
    assert (found and found.name) == expected


@pytest.mark.parametrize("name", [name for name, expected in DEVICES if expected])
def test_every_device_has_a_source_and_figures_of_the_right_size(name: str) -> None:
    peaks = peaks_of(name)
    assert peaks is not None
    assert peaks.source
    assert 1e11 < peaks.bandwidth < 1e13
    assert peaks.flops
    assert all(1e12 < value < 1e16 for value in peaks.flops.values())
    assert list(peaks.flops.values()) == sorted(peaks.flops.values())
