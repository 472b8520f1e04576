"""What accelerators can do at most: FLOP/s by precision and memory bandwidth, from the makers' data sheets.

Figures are dense: what is advertised "with sparsity" is halved. A figure that the maker does not state is absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_T = 1e12
_G = 1e9


@dataclass(frozen=True)
class DevicePeaks:
    """``flops``: FLOP/s by precision (``fp32``, ``tf32``, ``fp16`` for float16 and bfloat16, ``fp8``).

    ``fp32`` is that of ordinary cores, the others are of tensor cores; ``bandwidth`` in bytes a second.
    """

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    source: str


def _peaks(
    name: str,
    bandwidth_gb: float,
    source: str,
    *,
    fp32: float | None = None,
    tf32: float | None = None,
    fp16: float | None = None,
    fp8: float | None = None,
) -> DevicePeaks:
    """From GB/s and TFLOP/s."""
    named = {"fp32": fp32, "tf32": tf32, "fp16": fp16, "fp8": fp8}
    return DevicePeaks(
        name, {key: value * _T for key, value in named.items() if value is not None}, bandwidth_gb * _G, source
    )


_A100 = "NVIDIA A100 Tensor Core GPU datasheet (2021)"
_H100 = "NVIDIA H100 Tensor Core GPU datasheet (2023), halved where with sparsity"
_V100 = "NVIDIA V100 Tensor Core GPU datasheet (2020)"

_TABLE: tuple[tuple[str, DevicePeaks], ...] = (
    (
        r"H200",
        _peaks(
            "H200 SXM",
            4800,
            "NVIDIA H200 Tensor Core GPU datasheet (2024), halved where with sparsity",
            fp32=67,
            tf32=494.5,
            fp16=989.5,
            fp8=1979,
        ),
    ),
    (r"H100.*PCIe", _peaks("H100 PCIe", 2000, _H100, fp32=51, tf32=378, fp16=756, fp8=1513)),
    (r"H100", _peaks("H100 SXM", 3350, _H100, fp32=67, tf32=494.5, fp16=989.5, fp8=1979)),
    (r"A100(?=.*PCI).*80GB", _peaks("A100 80GB PCIe", 1935, _A100, fp32=19.5, tf32=156, fp16=312)),
    (r"A100.*80GB", _peaks("A100 80GB SXM", 2039, _A100, fp32=19.5, tf32=156, fp16=312)),
    (r"A100", _peaks("A100 40GB", 1555, _A100, fp32=19.5, tf32=156, fp16=312)),
    (r"V100.*PCI", _peaks("V100 PCIe", 900, _V100, fp32=14, fp16=112)),
    (r"V100", _peaks("V100 SXM2", 900, _V100, fp32=15.7, fp16=125)),
    (
        r"\bL4\b",
        _peaks(
            "L4",
            300,
            "NVIDIA L4 Tensor Core GPU datasheet (2023), halved where with sparsity",
            fp32=30.3,
            tf32=60,
            fp16=121,
            fp8=242.5,
        ),
    ),
    (
        r"\bA10\b",
        _peaks("A10", 600, "NVIDIA A10 Tensor Core GPU datasheet (2021)", fp32=31.2, tf32=62.5, fp16=125),
    ),
    (
        r"RTX 4090(?! ?D)",
        _peaks(
            "GeForce RTX 4090",
            1008,
            "NVIDIA Ada GPU Architecture whitepaper, appendix A: 16-bit and 8-bit with FP32 accumulation",
            fp32=82.6,
            tf32=82.6,
            fp16=165.2,
            fp8=330.3,
        ),
    ),
    (
        r"MI300X",
        _peaks(
            "Instinct MI300X",
            5300,
            "AMD Instinct MI300X data sheet (2023)",
            fp32=163.4,
            tf32=653.7,
            fp16=1307.4,
            fp8=2614.9,
        ),
    ),
    (r"Gaudi ?2|HL-225", _peaks("Gaudi 2", 2450, "Intel Gaudi 2 AI accelerator white paper", fp16=432, fp8=865)),
)


def peaks_of(device_name: str) -> DevicePeaks | None:
    """The peaks of a device by the name that its driver gives it, such as ``NVIDIA A100-SXM4-80GB``.

    None for a device that is not in the table. A name that does not tell the variant gets the lesser one's bandwidth.
    """
    return next((peaks for pattern, peaks in _TABLE if re.search(pattern, device_name, re.IGNORECASE)), None)
