"""Chrome traces for tests: events drawn by hand, files of all shapes, and real traces where they are at hand."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REAL_TRACES = Path(os.environ.get("CHROME_TRACES") or Path(__file__).resolve().parents[3] / "shared" / "traces")
"""A folder with traces of GPU programs; tests that read them are skipped without it."""

PID = 4000
MAIN = 4000
AUTOGRAD = 4001
Event = dict[str, Any]


def complete(name: str, start_us: float, dur_us: float, cat: str = "cpu_op", tid: int = MAIN, /, **args: Any) -> Event:
    """A complete event (``X``) of the process :data:`PID`."""
    return {"ph": "X", "cat": cat, "name": name, "pid": PID, "tid": tid, "ts": start_us, "dur": dur_us, "args": args}


def on_device(
    name: str, start_us: float, dur_us: float, correlation: int, cat: str = "kernel", /, **args: Any
) -> Event:
    """Work on stream 7 of device 0."""
    found = complete(name, start_us, dur_us, cat, 7, device=0, stream=7, correlation=correlation, **args)
    return {**found, "pid": 0}


def write_trace(path: Path, events: Sequence[Any], indent: int | None = None, **metadata: Any) -> Path:
    """The events as the object that torch.profiler writes; gzip where the name ends so."""
    text = json.dumps({"schemaVersion": 1, **metadata, "traceEvents": list(events), "traceName": "x"}, indent=indent)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read_trace(path: Path) -> dict[str, Any]:
    """A trace file as the standard library reads it."""
    data = path.read_bytes()
    loaded = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    assert isinstance(loaded, dict)
    return loaded


def one_training_step() -> list[Event]:
    """Two layers forward, a kernel and a copy each, and the backward of one of them on a thread of its own."""
    return [
        complete("ProfilerStep#7", 0, 1000, "user_annotation"),
        complete("nn.Module: Net_0", 10, 300, "python_function"),
        complete("nn.Module: Linear_0", 20, 100, "python_function"),
        complete("net.py(3): forward", 25, 90, "python_function"),
        complete("aten::linear", 30, 80, **{"External id": 1, "Sequence number": 5, "Fwd thread id": 0}),
        complete("aten::addmm", 40, 60, **{"External id": 2, "Sequence number": 5, "Fwd thread id": 0}),
        complete("cudaLaunchKernel", 50, 10, "cuda_runtime", correlation=100, **{"External id": 2}),
        complete("nn.Module: ReLU_0", 150, 50, "python_function"),
        complete("aten::relu", 160, 30, **{"External id": 3, "Sequence number": 6, "Fwd thread id": 0}),
        complete("cudaLaunchKernel", 165, 10, "cuda_runtime", correlation=101),
        complete("cudaDeviceSynchronize", 320, 100, "cuda_runtime", correlation=102),
        complete(
            "autograd::engine::evaluate_function: AddmmBackward0",
            500,
            200,
            "cpu_op",
            AUTOGRAD,
            **{"External id": 4, "Sequence number": 5, "Fwd thread id": 1},
        ),
        complete(
            "AddmmBackward0",
            510,
            150,
            "cpu_op",
            AUTOGRAD,
            **{"External id": 5, "Sequence number": 5, "Fwd thread id": 1},
        ),
        complete("aten::mm", 520, 100, "cpu_op", AUTOGRAD, **{"External id": 6}),
        complete("cudaMemcpyAsync", 530, 20, "cuda_runtime", AUTOGRAD, correlation=103),
        on_device("gemm_kernel", 2000, 400, 100),
        on_device("relu_kernel", 2400, 40, 101),
        on_device("Memcpy DtoD (Device -> Device)", 2500, 7, 103, "gpu_memcpy", bytes=4096),
        on_device("Net", 2000, 450, 0, "gpu_user_annotation"),
    ]
