"""Which memory holds parameters, buffers, gradients and optimizer state: told to the recorder of allocations.

An allocation does not know what it is for. Parameters and buffers are noted when their root module is first called,
once more with the first steps of their optimizer (their layers are known by then) and at the end; the optimizer's state
with its first steps; gradients at every step, since ``zero_grad`` gives them up.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from deepseek_prof.collectors.dynamo import stays_outside
from deepseek_prof.collectors.layers import ROOT, Resolved

# The values of MemoryEvent in native/memory.h.
PARAMETER, BUFFER, GRADIENT, OPTIMIZER_STATE = 2, 3, 4, 5
_STEPS = 2
"""Of an optimizer, in which its state is noted: some make it in the first, some replace it in the second."""

Note = Callable[[int, int, int, int], None]
Resolve = Callable[[int, str, torch.nn.Module], Resolved]


class TensorRoles:
    """Notes tensors of one process; ``resolve`` stands in for that of the layers' names."""

    def __init__(self, note: Note, resolve: Resolve) -> None:
        self._note = note
        self._resolve = resolve
        self._roots: dict[int, weakref.ref[torch.nn.Module]] = {}
        self._steps: weakref.WeakKeyDictionary[torch.optim.Optimizer, int] = weakref.WeakKeyDictionary()
        self._remove: Callable[[], None] | None = None

    def install(self) -> None:
        """Note what optimizers hold after their steps."""

        @stays_outside
        def stepped(optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
            self._after_step(optimizer)

        self._remove = register_optimizer_step_post_hook(stepped).remove

    def remove(self) -> None:
        """Note the modules' tensors a last time, with their layers, and look no more."""
        for reference in self._roots.values():
            module = reference()
            if module is not None:
                self._note_module(module)
        self._roots.clear()
        if self._remove is not None:
            self._remove()
            self._remove = None

    @stays_outside
    def resolve(self, parent_address: int, outer: str, module: torch.nn.Module) -> Resolved:
        """As ``LayerNames.resolve``; a root's tensors are noted when it is first called."""
        resolved = self._resolve(parent_address, outer, module)
        known = self._roots.get(id(module))
        if resolved[0] == ROOT and (known is None or known() is not module):
            self._roots[id(module)] = weakref.ref(module)
            self._note_module(module)
        return resolved

    def _note_module(self, module: torch.nn.Module) -> None:
        for parameter in module.parameters():
            self._note_tensor(parameter, PARAMETER, parameter)
        for buffer in module.buffers():
            self._note_tensor(buffer, BUFFER, buffer)

    def _after_step(self, optimizer: torch.optim.Optimizer) -> None:
        step = self._steps.get(optimizer, 0)
        self._steps[optimizer] = step + 1
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._note_tensor(parameter.grad, GRADIENT, parameter)
                if step < _STEPS:
                    self._note_tensor(parameter, PARAMETER, parameter)
                    for value in _tensors(optimizer.state.get(parameter)):
                        self._note_tensor(value, OPTIMIZER_STATE, parameter)

    def _note_tensor(self, tensor: torch.Tensor, role: int, parameter: torch.Tensor) -> None:
        try:
            storage = tensor.untyped_storage()
            address = storage.data_ptr()
        except (RuntimeError, NotImplementedError):
            return  # sparse, fake, or a subclass without memory of its own
        if address and tensor.device.type == "cpu":
            self._note(address, storage.nbytes(), role, parameter._cdata)


def _tensors(state: Any) -> Iterable[torch.Tensor]:
    if not isinstance(state, dict):
        return ()
    return (value for value in state.values() if isinstance(value, torch.Tensor))
