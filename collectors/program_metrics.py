"""Connects what tells numbers in this process to its metric log: losses, ``log_metric``, training loggers."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from deepseek_prof.collectors import tracebacks
from deepseek_prof.collectors.accelerator_metrics import AcceleratorMetrics
from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.logged_numbers import numbers_in
from deepseek_prof.collectors.loss import Emit, LossWatch
from deepseek_prof.collectors.metric_log import MetricLog
from deepseek_prof.collectors.scalars import ScalarReader
from deepseek_prof.collectors.steps import replace, watch_backward
from deepseek_prof.user_log import send_metrics_to

if TYPE_CHECKING:
    from deepseek_prof.collectors.child import Attachment
    from deepseek_prof.collectors.import_hooks import ImportWatcher

_WRITERS = {"torch.utils.tensorboard.writer": "TensorBoard", "tensorboardX.writer": "tensorboardX"}
_TRAINER = "transformers.trainer_callback"
_NO_METRICS = frozenset({"total_flos", "epoch", "step"})


class ProgramMetrics:
    """All sources of numbers of one recording. What fails in them costs the number, and never reaches the program."""

    def __init__(self, attachment: Attachment, emit: Emit, imports: ImportWatcher) -> None:
        self.log = MetricLog(attachment)
        self._emit = emit
        self._imports = imports
        self._reader = ScalarReader()
        self._loss = LossWatch(emit, self.log, self._reader)
        self._accelerators = AcceleratorMetrics(self.log)
        self._undo: list[Callable[[], None]] = []
        self._failed = False

    def install(self) -> None:
        """Begin to note numbers."""
        watch_backward(self._backward_called)
        send_metrics_to(self.told)
        replace(torch.amp.GradScaler, "scale", self._observed(self._scaled), self._undo)
        for module, source in _WRITERS.items():
            self._imports.after_import(module, partial(self._writer_imported, module, source))
        self._imports.after_import(_TRAINER, self._trainer_imported)

    def remove(self) -> None:
        """Note no more, and write what waits."""
        watch_backward(None)
        send_metrics_to(None)
        while self._undo:
            self._undo.pop()()
        try:
            self._reader.finish()
        except Exception as error:  # noqa: BLE001  # a device that has failed: the rest of the recording is to end well
            self._fail(error)
        self.log.flush()
        if self.log.lost:
            self._emit("warning", "collector_failed", {"message": f"{self.log.lost} metric values were not written"})

    @stays_outside
    def _backward_called(self, outputs: Any, *, accumulates: bool) -> None:
        try:
            self._loss.backward_called(outputs, accumulates=accumulates)
            self._accelerators.poll()
        except Exception as error:  # noqa: BLE001  # private parts of torch, drivers: the program must not notice
            self._fail(error)

    @stays_outside
    def told(self, name: str, value: Any, unit: str) -> None:
        """``deepseek_prof.log_metric`` was called."""
        self._note("log_metric", {name: value}, unit)

    @stays_outside
    def logged(self, record: logging.LogRecord) -> None:
        """A record of ``logging`` was emitted."""
        try:
            found = numbers_in(record)
        except Exception as error:  # noqa: BLE001  # a message's own code may raise anything
            self._fail(error)
            return
        self._note("logging", found)

    def _note(self, source: str, values: Mapping[Any, Any], unit: str = "") -> None:
        try:
            self._reader.poll()
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    self._reader.read(value, partial(self._took, source, str(name), unit))
                else:
                    number = _number(value)
                    if number is not None:
                        self.log.add(source, str(name), number, unit)
        except Exception as error:  # noqa: BLE001  # a value's own code may raise anything
            self._fail(error)

    def _took(self, source: str, name: str, unit: str, value: float, ts_ns: int) -> None:
        self.log.add(source, name, value, unit, ts_ns=ts_ns)

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            message = f"a metric was left out: {type(error).__name__}: {error}"
            self._emit("warning", "collector_failed", {"message": message})

    # --- libraries

    def _observed(self, told: Callable[..., None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Makes of a function one that calls ``told(result, *args, **kwargs)`` at its end."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            @passes_through
            def call(*args: Any, **kwargs: Any) -> Any:
                try:
                    result = original(*args, **kwargs)
                except BaseException as error:
                    tracebacks.leave_out_wrapper(error)
                    raise
                try:
                    told(result, *args, **kwargs)
                except Exception as error:  # noqa: BLE001  # another version of the library, with other arguments
                    self._fail(error)
                return result

            return call

        return make

    @stays_outside
    def _scaled(self, result: Any, _scaler: Any, outputs: Any) -> None:
        self._loss.scaled(outputs, result)

    def _writer_imported(self, module: str, source: str) -> None:
        writer = getattr(sys.modules.get(module), "SummaryWriter", None)
        if writer is None:
            return

        @stays_outside
        def scalar(_result: Any, _self: Any, tag: Any, scalar_value: Any, *_: Any, **__: Any) -> None:
            self._note(source, {tag: scalar_value})

        @stays_outside
        def scalars(_result: Any, _self: Any, main_tag: Any, tag_scalar_dict: Any, *_: Any, **__: Any) -> None:
            self._note(source, {f"{main_tag}/{tag}": value for tag, value in dict(tag_scalar_dict).items()})

        replace(writer, "add_scalar", self._observed(scalar), self._undo)
        replace(writer, "add_scalars", self._observed(scalars), self._undo)

    def _trainer_imported(self) -> None:
        handler = getattr(sys.modules.get(_TRAINER), "CallbackHandler", None)
        if handler is None or not hasattr(handler, "on_log"):
            return

        @stays_outside
        def trained(_result: Any, _self: Any, _args: Any, _state: Any, _control: Any, logs: Any, **_: Any) -> None:
            self._note("Trainer", {key: value for key, value in dict(logs).items() if key not in _NO_METRICS})

        replace(handler, "on_log", self._observed(trained), self._undo)


def _number(value: Any) -> float | None:
    """A number, or the one element of an array; None for anything else."""
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e308 or math.isinf(value) or math.isnan(value) else None
    if getattr(value, "size", None) == 1 and callable(getattr(value, "item", None)):
        return _number(value.item())
    return None
