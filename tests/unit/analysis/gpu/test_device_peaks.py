"""Peaks of devices by the names that their drivers give."""

from __future__ import annotations

import pytest

from deepseek_prof.analysis.device_peaks import known_devices, peaks_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
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
    ],
)
def test_devices_by_name(name: str, expected: str | None) -> None:
    found = peaks_of(name)
    assert (found and found.name) == expected


def test_every_device_has_a_source_and_figures_of_the_right_size() -> None:
    for each in known_devices():
        assert each.source
        assert 1e11 < each.bandwidth < 1e13
        assert each.flops
        assert all(1e12 < value < 1e16 for value in each.flops.values())
        assert list(each.flops.values()) == sorted(each.flops.values())
        assert each.ridge("fp16") == each.flops["fp16"] / each.bandwidth
