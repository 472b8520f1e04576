"""Writes a Chrome trace of any size, with events and arguments as torch.profiler writes them for a GPU training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LAYERS = 200
_PID, _MAIN, _AUTOGRAD = 4000, 4000, 4001
_STEP_US = 200_000
# Stands for the number of the step in times and in what links events, so that a step is written by one replacement.
_STEP_MARK = "7777777"
_KERNEL = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, "
    "at::detail::Array<char*, 3> >(int, at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3>)"
)
_GRID = {"grid": [64, 1, 1], "block": [128, 1, 1], "registers per thread": 20, "shared memory": 0, "warps per SM": 2.5}


def write_large_trace(path: Path, size_bytes: int) -> int:
    """Write whole steps until the file has ``size_bytes``, and return how many events it holds."""
    events = _step()
    step = ",\n".join(json.dumps(event) for event in events).encode()
    mark = _STEP_MARK.encode()
    steps = 0
    with path.open("wb") as file:
        file.write(b'{"schemaVersion": 1, "distributedInfo": {"rank": 0, "world_size": 1}, "traceEvents": [\n')
        while file.tell() < size_bytes:
            file.write((b",\n" if steps else b"") + step.replace(mark, b"%07d" % (1_000_000 + steps)))
            steps += 1
        file.write(b'],\n"traceName": "large"}')
    return steps * len(events)


def _step() -> list[dict[str, Any]]:
    events = [_event(f"ProfilerStep#{_STEP_MARK}", "user_annotation", _MAIN, 0, 199_000)]
    for layer in range(_LAYERS):
        events += _layer(layer)
    return events


def _layer(layer: int) -> list[dict[str, Any]]:
    """Eleven spans and two arrows."""
    at_us = 100 + layer * 400
    back_us = 90_000 + layer * 400
    number = f"{layer:06d}"
    forward = {"Sequence number": int(_STEP_MARK + number), "Fwd thread id": 0}
    backward = {"Sequence number": int(_STEP_MARK + number), "Fwd thread id": 1}
    arrow = {"cat": "fwdbwd", "name": "fwdbwd", "id": int(_STEP_MARK + number), "pid": _PID}
    return [
        _event(f"nn.Module: Linear_{layer}", "python_function", _MAIN, at_us, 300),
        _event("aten::linear", "cpu_op", _MAIN, at_us + 20, 250, **forward),
        _event("aten::addmm", "cpu_op", _MAIN, at_us + 40, 200, **forward),
        _event("cudaLaunchKernel", "cuda_runtime", _MAIN, at_us + 100, 20, cbid=211, correlation=_link(number, 1)),
        _event("cudaEventQuery", "cuda_runtime", _MAIN, at_us + 150, 2, cbid=138, correlation=_link(number, 2)),
        _event(_KERNEL, "kernel", 7, at_us + 500, 90, 0, correlation=_link(number, 1), device=0, stream=7, **_GRID),
        _event("autograd::engine::evaluate_function: AddmmBackward0", "cpu_op", _AUTOGRAD, back_us, 300, **backward),
        _event("AddmmBackward0", "cpu_op", _AUTOGRAD, back_us + 10, 250, **backward),
        _event("aten::mm", "cpu_op", _AUTOGRAD, back_us + 20, 100),
        _event("cudaLaunchKernel", "cuda_runtime", _AUTOGRAD, back_us + 40, 20, correlation=_link(number, 3)),
        _event("volta_sgemm_64x64_nt", "kernel", 7, back_us + 90, 80, 0, correlation=_link(number, 3), **_GRID),
        {"ph": "s", "tid": _MAIN, "ts": _time(at_us + 40), **arrow},
        {"ph": "f", "tid": _AUTOGRAD, "ts": _time(back_us), "bp": "e", **arrow},
    ]


def _event(name: str, category: str, tid: int, at_us: int, dur_us: int, pid: int = _PID, **args: Any) -> dict[str, Any]:
    arguments = {"External id": at_us, "Ev Idx": at_us, **args}
    return {
        "ph": "X",
        "cat": category,
        "name": name,
        "pid": pid,
        "tid": tid,
        "ts": _time(at_us),
        "dur": dur_us + 0.125,
        "args": arguments,
    }


def _time(at_us: int) -> float:
    """The step's number before six digits of microseconds."""
    if at_us >= _STEP_US:
        raise ValueError(f"{at_us} us is behind the end of the step")
    return float(f"{_STEP_MARK}{at_us:06d}.125")


def _link(number: str, which: int) -> int:
    return int(f"{_STEP_MARK}{number}{which}")
