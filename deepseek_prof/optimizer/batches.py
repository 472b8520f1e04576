"""The captured call with other numbers of rows, within a candidate's process. Standard library and torch only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from deepseek_prof.optimizer import numerics
from deepseek_prof.optimizer.protocol import Call, Callee
from deepseek_prof.optimizer.values import changed, cloned, tensors


class BatchError(ValueError):
    """The call has no batch dimension, or its results do not follow it."""


def rows_of(call: Call) -> int:
    """The size of dimension 0, which all tensors must share. Raises BatchError."""
    sizes = {each.shape[0] if each.dim() else 0 for _, each in tensors(call.given)}
    if len(sizes) != 1 or 0 in sizes:
        found = ", ".join(str(each) for each in sorted(sizes)) or "no tensor"
        raise BatchError(f"dimension 0 of the arguments is no batch: found {found}")
    return sizes.pop()


def with_rows(call: Call, rows: int) -> Call:
    """The call with its rows repeated in turn until there are so many, in tensors of its own. Raises BatchError."""
    chosen = torch.arange(rows) % rows_of(call)

    def pick(tensor: torch.Tensor) -> torch.Tensor:
        return cloned(tensor.detach().index_select(0, chosen.to(tensor.device)))

    return changed(call, pick)


def check(callee: Callee, call: Call, rows: int, *, lossy: bool) -> None:
    """Run both sizes and hold the results against each other, row by row.

    Raises:
        BatchError: a result does not have the rows in dimension 0, or one row changes what another one gets.
    """
    single, many = (_results(callee, with_rows(call, size)) for size in (rows_of(call), rows))
    expected = {}
    for path, tensor in many.items():
        before = single.get(path)
        if before is None or not tensor.dim() or tensor.shape[0] != rows or before.shape[0] != rows_of(call):
            raise BatchError(f"result {path or 'of the module'} of shape {list(tensor.shape)} has no {rows} rows")
        expected[path] = before[torch.arange(rows, device=before.device) % rows_of(call)]
    wrong = numerics.failure(numerics.compare([expected], [many], None, ""), lossy=lossy)
    if wrong is not None:
        raise BatchError(f"rows change each other's results: {wrong}")


def available_bytes(device: str) -> int:
    """Memory that is free for more: of the device, on the CPU of the machine."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/meminfo does not tell the available memory")


def _results(callee: Callee, call: Call) -> dict[str, Any]:
    return {path: each.detach().clone() for path, each in tensors(callee(*call.args, **call.kwargs))}
