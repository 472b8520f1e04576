"""Connects everything that tells events in this process to its event log, and disconnects it again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deepseek_prof.collectors import tracebacks
from deepseek_prof.collectors.captured_logs import capture_logging, capture_structlog, capture_warnings
from deepseek_prof.collectors.compiled_kernels import CompiledKernels
from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.events import EventLog
from deepseek_prof.collectors.import_hooks import ImportWatcher
from deepseek_prof.collectors.program_events import CompileWatch, MemoryWatch, StallWatch
from deepseek_prof.collectors.program_metrics import ProgramMetrics
from deepseek_prof.collectors.steps import replace
from deepseek_prof.user_log import log as user_log

if TYPE_CHECKING:
    from deepseek_prof.collectors.child import Attachment


class EventSources:
    """All sources of events of one recording."""

    def __init__(self, attachment: Attachment) -> None:
        self.log = EventLog(attachment)
        self._undo: list[Callable[[], None]] = []
        self._imports = ImportWatcher()
        self._memory = MemoryWatch(self.log.emit)
        self._compile = CompileWatch(self.log.emit)
        self._metrics = ProgramMetrics(attachment, self.log.emit, self._imports)
        self._kernels = CompiledKernels(self.log.emit)

    def install(self) -> None:
        """Begin to note events."""
        emit = stays_outside(self.log.emit)
        self._undo = [capture_logging(emit, self._metrics.logged), capture_warnings(emit)]
        self._imports.after_import("structlog", self._structlog_imported)
        self._imports.after_import("torch._dynamo", self._compile.install)
        self._metrics.install()
        self._imports.after_import("torch._inductor.debug", self._kernels.install)
        tracebacks.watch_errors(self._memory.raised)
        user_log.send_to(emit)
        self._watch_loaders(StallWatch(emit))

    def remove(self) -> None:
        """Note no more."""
        self._memory.raised(getattr(sys, "last_exc", None) or getattr(sys, "last_value", None))
        self._compile.remove()
        self._kernels.remove()
        self._imports.remove()
        self._metrics.remove()
        tracebacks.watch_errors(None)
        user_log.send_to(None)
        while self._undo:
            self._undo.pop()()

    def _structlog_imported(self) -> None:
        self._undo.append(capture_structlog(self.log.emit))

    def _watch_loaders(self, watch: StallWatch) -> None:
        import torch.utils.data._utils.worker as data_worker
        import torch.utils.data.dataloader as data_loader

        def timed(original: Callable[..., Any]) -> Callable[..., Any]:
            @passes_through
            def call(self: Any) -> Any:
                begin_ns = time.monotonic_ns()
                try:
                    batch = original(self)
                except BaseException as error:
                    tracebacks.leave_out_wrapper(error)
                    raise
                watch.waited(self, begin_ns, time.monotonic_ns())
                return batch

            return call

        def told(original: Callable[..., Any]) -> Callable[..., Any]:
            @passes_through
            def call(*args: Any, **kwargs: Any) -> Any:
                self.log.emit("info", "worker_start", {})
                try:
                    return original(*args, **kwargs)
                except BaseException as error:
                    tracebacks.leave_out_wrapper(error)
                    raise
                finally:
                    self.log.emit("info", "worker_end", {})

            return call

        replace(data_loader._BaseDataLoaderIter, "__next__", timed, self._undo)
        replace(data_worker, "_worker_loop", told, self._undo)
