"""Losses: the scalars that ``backward`` is called on, with the name that they have in the program's source."""

from __future__ import annotations

import linecache
import math
import re
import sys
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from types import CodeType, FrameType
from typing import Any

import torch

from deepseek_prof.collectors.dynamo import stays_outside
from deepseek_prof.collectors.metric_log import MetricLog
from deepseek_prof.collectors.program_events import Rate
from deepseek_prof.collectors.scalars import ScalarReader

Emit = Callable[[str, str, Mapping[str, Any]], None]

SOURCE = "backward"
_MAX_SITES = 256
_OURS = ("torch", "deepseek_prof")
_CALLS = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[['\"]?\w+['\"]?\])*)\s*\.\s*backward\s*\(")
_SCALED = re.compile(r"\bscale\(\s*([A-Za-z_][\w.]*)\s*\)\s*\.\s*backward\s*\(")


class LossWatch:
    """Writes each loss, and tells one that is NaN or infinite; no operator is run and no device waited for."""

    def __init__(self, emit: Emit, metrics: MetricLog, reader: ScalarReader) -> None:
        self._emit = emit
        self._metrics = metrics
        self._reader = reader
        self._rate = Rate()
        self._names: dict[tuple[CodeType, int], str] = {}
        self._scaled: tuple[weakref.ref[torch.Tensor], weakref.ref[torch.Tensor]] | None = None

    @stays_outside
    def backward_called(self, outputs: Any, *, accumulates: bool) -> None:
        """A backward pass begins from these tensors; that of ``torch.autograd.grad`` is watched for NaN only."""
        self._reader.poll()
        tensors = outputs if isinstance(outputs, tuple | list) else (outputs,)
        name = self._site_name(sys._getframe(1)) if accumulates else ""
        for number, tensor in enumerate(tensors):
            shown = f"{name}[{number}]" if len(tensors) > 1 else name
            self._reader.read(self._unscaled(tensor), partial(self._took, shown))

    @stays_outside
    def scaled(self, outputs: Any, result: Any) -> None:
        """``GradScaler.scale`` has made ``result`` of the loss ``outputs``."""
        if isinstance(outputs, torch.Tensor) and isinstance(result, torch.Tensor) and result is not outputs:
            self._scaled = weakref.ref(result), weakref.ref(outputs)

    def _unscaled(self, tensor: Any) -> Any:
        if self._scaled is None:
            return tensor
        (scaled, loss), self._scaled = self._scaled, None
        return loss() if scaled() is tensor else tensor

    def _took(self, name: str, value: float, ts_ns: int) -> None:
        if name:
            self._metrics.add(SOURCE, name, value, ts_ns=ts_ns)
        if not math.isfinite(value):
            skipped = self._rate.passes()
            if skipped is not None:
                fields = {"message": f"the loss is {value}", "value": str(value), **({"name": name} if name else {})}
                self._emit("error", "nan_loss", fields | ({"left_out": skipped} if skipped else {}))

    def _site_name(self, frame: FrameType | None) -> str:
        """The name of the loss at the nearest caller outside torch, the same for all calls from one line."""
        while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] in _OURS:
            frame = frame.f_back
        if frame is None:
            return "loss"
        site = frame.f_code, frame.f_lineno
        name = self._names.get(site)
        if name is None:
            name = self._new_name(frame)
            if len(self._names) < _MAX_SITES:
                self._names[site] = name
        return name

    def _new_name(self, frame: FrameType) -> str:
        code, number = frame.f_code, frame.f_lineno
        line = linecache.getline(code.co_filename, number, frame.f_globals)
        found = _SCALED.search(line) or _CALLS.search(line)
        name = found[1].removeprefix("self.") if found and not found[1].startswith("torch.") else "loss"
        if name in self._names.values():
            name = f"{name} ({code.co_filename.rpartition('/')[2]}:{number})"
        return name
