"""The Triton kernel of convolution, ReLU and pooling against cuDNN, for ``benchmarks/gpu_acceptance.py``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from deepseek_prof.optimizer.conv_pool_kernel import conv_relu_max_pool


def launches(call: Callable[[], torch.Tensor]) -> int:
    """Kernels that one call launches."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        call()
        torch.cuda.synchronize()
    if profiler.profiler is None or profiler.profiler.kineto_results is None:
        raise RuntimeError("torch.profiler recorded nothing")
    return sum(event.activity_type() == "kernel" for event in profiler.profiler.kineto_results.events())


def median_ms(call: Callable[[], torch.Tensor], rounds: int = 50) -> float:
    """Device time of a call in milliseconds."""
    times: list[float] = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def main() -> None:
    """Compare both and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    found: list[dict[str, Any]] = []
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.float16, 2e-2)):
        image = torch.randn(16, 3, 224, 224, device="cuda", dtype=dtype)
        weight = torch.randn(64, 3, 7, 7, device="cuda", dtype=dtype) / 12
        bias = torch.randn(64, device="cuda", dtype=dtype)

        def reference(
            image: torch.Tensor = image, weight: torch.Tensor = weight, bias: torch.Tensor = bias
        ) -> torch.Tensor:
            return F.max_pool2d(torch.relu(F.conv2d(image, weight, bias, stride=2, padding=3)), 3, 2, 1)

        def fused(
            image: torch.Tensor = image, weight: torch.Tensor = weight, bias: torch.Tensor = bias
        ) -> torch.Tensor:
            result: torch.Tensor = conv_relu_max_pool(
                image, weight, bias, [2, 2], [3, 3], [1, 1], [3, 3], [2, 2], [1, 1]
            )
            return result

        with torch.inference_mode():
            error = float((reference().float() - fused().float()).abs().max())
            scale = float(reference().float().abs().max())
            found.append(
                {
                    "dtype": str(dtype),
                    "error": error / scale,
                    "tolerance": tolerance,
                    "launches": launches(fused),
                    "reference_launches": launches(reference),
                    "fused_ms": median_ms(fused),
                    "reference_ms": median_ms(reference),
                }
            )
    arguments.result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
