"""Windows of Kineto with CUDA activities only.

Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch
from torch._C._autograd import _disable_profiler, _enable_profiler, _prepare_profiler
from torch._C._profiler import ProfilerActivity, ProfilerConfig, ProfilerState, _ExperimentalConfig

_TEARDOWN = "TEARDOWN_CUPTI"
_LOG_LEVEL = "KINETO_LOG_LEVEL"
_SILENT = "6"
"""Above Kineto's last level: it would write a line to the program's stderr for each window."""


class KinetoCuda:
    """Kineto with CUDA activities only: no callback at operators.

    A window belongs to the thread that began it, and a thread of the program may end or come back late, as a server's
    do: so windows have a thread of their own.
    """

    def __init__(self, *, with_metadata: bool) -> None:
        self._thread = _WindowThread()
        # Asked for where it is wanted only: an older torch does not know it.
        asked: dict[str, Any] = {"expose_kineto_event_metadata": True} if with_metadata else {}
        self._config = ProfilerConfig(
            ProfilerState.KINETO,
            False,
            False,
            False,
            False,
            False,
            _ExperimentalConfig(
                enable_cuda_sync_events=True,
                **asked,
            ),
        )

    def open(self) -> None:
        """Begin a window."""
        self._thread.call(self._enable)

    def _enable(self) -> None:
        # Kineto reads it once, when it is used first.
        with _variable(_LOG_LEVEL, _SILENT, when=_LOG_LEVEL not in os.environ):
            _prepare_profiler(self._config, {ProfilerActivity.CUDA})
        _enable_profiler(self._config, {ProfilerActivity.CUDA})

    def settle(self) -> None:
        """Wait until all work that was launched in the window is done."""
        has_context: Callable[[int], bool] = getattr(torch._C, "_cuda_hasPrimaryContext", bool)  # not in a CPU build
        for index in range(torch.cuda.device_count()):
            if has_context(index):
                torch.cuda.synchronize(index)

    def close(self, *, last: bool) -> Any:
        """End the window; what was recorded."""
        # Between windows CUPTI stays, since to begin anew takes long. At the end it goes, unless the program or torch
        # has asked for it to stay: graphs do not survive it.
        with _variable(_TEARDOWN, "1", when=last and _TEARDOWN not in os.environ):
            return self._thread.call(_disable_profiler)


class _WindowThread:
    """Calls functions one after the other on one thread, which begins with the first."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._started = False

    def call(self, function: Callable[[], Any]) -> Any:
        """What ``function`` gives or raises."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="deepseek-prof-windows", daemon=True).start()
        done: Future[Any] = Future()
        self._waiting.put((done, function))
        return done.result()

    def _work(self) -> None:
        while True:
            done, function = self._waiting.get()
            try:
                result = function()
            except Exception as error:  # noqa: BLE001  # raised by `call`
                done.set_exception(error)
            else:
                done.set_result(result)
            del done, function


@contextmanager
def _variable(name: str, value: str, *, when: bool) -> Iterator[None]:
    """An environment variable that is there for a while, for libraries that take their settings from it."""
    if not when:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
