"""Labels what the forward pass allocates on CUDA with its layer, for PyTorch's snapshot.

In the profiled process: standard library and torch only. PyTorch keeps a label for each thread and notes it with each
allocation. Backward runs on threads of its own, in no layer of Python's: what it allocates has no label.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from deepseek_prof.collectors.dynamo import stays_outside
from deepseek_prof.model import LAYER_LABEL

if TYPE_CHECKING:
    from deepseek_prof.collectors.cuda import Watched


class LayerLabels:
    """Sets and resets the label at each layer. A label of the program's own stays.

    Args:
        native: tells of layers.
        layer: the innermost layer of the calling thread.
        warn: told once if this torch or the driver cannot do it after all.
    """

    def __init__(self, native: Watched, layer: Callable[[], str], warn: Callable[[str], None]) -> None:
        self._native = native
        self._layer = layer
        self._warn = warn
        self._outer = threading.local()
        self._pid = os.getpid()

    def begin(self) -> None:
        """Label from the next layer on; CUDA is initialised. Without effect in a torch that knows no labels."""
        if hasattr(torch._C, "_cuda_setMemoryMetadata") and hasattr(torch._C, "_cuda_getMemoryMetadata"):
            self._pid = os.getpid()  # a fork that came before CUDA may use it
            stays_outside(self._at_layer)
            self._native.watch_layers(self._at_layer)

    def _at_layer(self, entering: bool) -> None:
        if os.getpid() != self._pid:
            return  # a fork of a process with CUDA has none
        try:
            self._enter() if entering else self._leave()
        except Exception as error:  # noqa: BLE001  # raised here, it would fail the program's own forward
            self._native.watch_layers(None)
            self._warn(f"the memory snapshot has no more layers: {type(error).__name__}: {error}")

    def _enter(self) -> None:
        label = torch._C._cuda_getMemoryMetadata()
        self._stack().append(label)
        if not label or label.startswith(LAYER_LABEL):
            torch._C._cuda_setMemoryMetadata(LAYER_LABEL + self._layer())

    def _leave(self) -> None:
        stack = self._stack()
        if not stack:
            return  # a layer that began before us
        outer = stack.pop()
        label = torch._C._cuda_getMemoryMetadata()
        # No label: the program has taken its own away.
        if label.startswith(LAYER_LABEL) or (not label and outer.startswith(LAYER_LABEL)):
            torch._C._cuda_setMemoryMetadata(outer)

    def _stack(self) -> list[str]:
        found: list[str] | None = getattr(self._outer, "labels", None)
        if found is None:
            found = self._outer.labels = []
        return found
