"""Windows of Kineto with CUDA activities only.

Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C._autograd import _disable_profiler, _enable_profiler, _prepare_profiler
from torch._C._profiler import ProfilerActivity, ProfilerConfig, ProfilerState, _ExperimentalConfig

_TEARDOWN = "TEARDOWN_CUPTI"
_LOG_LEVEL = "KINETO_LOG_LEVEL"
_SILENT = "6"
"""Above Kineto's last level: it would write a line to the program's stderr for each window."""


class KinetoCuda:
    """Kineto with CUDA activities only: no callback at operators."""

    def __init__(self, *, with_metadata: bool) -> None:
        self._config = ProfilerConfig(
            ProfilerState.KINETO,
            False,
            False,
            False,
            False,
            False,
            _ExperimentalConfig(enable_cuda_sync_events=True, expose_kineto_event_metadata=with_metadata),
        )

    def open(self) -> None:
        """Begin a window on this thread."""
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
        """End the window on the same thread."""
        # Between windows CUPTI stays, since to begin anew takes long. At the end it goes, unless the program or torch
        # has asked for it to stay: graphs do not survive it.
        with _variable(_TEARDOWN, "1", when=last and _TEARDOWN not in os.environ):
            return _disable_profiler()


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
