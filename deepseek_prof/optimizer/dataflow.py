"""Which convolutions feed a batch normalization and nothing else, seen on real calls: no graph of the module is needed.

Standard library and torch only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepseek_prof.optimizer.protocol import Call
from deepseek_prof.optimizer.values import copied, tensors

# Exactly these: a subclass may do more in its forward, and a parametrized module is one.
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def foldable(module: nn.Module, calls: Sequence[Call]) -> tuple[tuple[str, str], ...]:
    """Names of (convolution, normalization) where in every call the one's output went into the other alone.

    Runs the module once a call. What a call on other data would do differently is not seen.
    """
    places = Counter(id(each) for _, each in module.named_modules(remove_duplicate=False))
    names = {each: name for name, each in module.named_modules() if places[id(each)] == 1 and _is_plain(each)}
    flow = _Flow(names)
    handles = [each.register_forward_pre_hook(flow.entered) for each in names]
    handles += [each.register_forward_hook(flow.left) for each in names]
    try:
        for each in calls:
            own = copied(each)
            with flow.watching():
                result = module(*own.args, **own.kwargs)
            flow.returned(result)
    finally:
        for handle in handles:
            handle.remove()
    return flow.pairs()


def _is_plain(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks:  # they see what folding changes
        return False
    if type(module) in _NORMALIZATIONS:
        return not module.training and isinstance(module.running_mean, torch.Tensor)
    return type(module) in _CONVOLUTIONS


@dataclass
class _Flow:
    """What became of the convolutions' outputs. They are kept for a call, so that none takes another's memory."""

    names: dict[nn.Module, str]
    inside: nn.Module | None = None
    makers: dict[int, nn.Module] = field(default_factory=dict)
    """Of the present call: storage of an output → its convolution."""
    kept: list[torch.Tensor] = field(default_factory=list)
    readers: dict[nn.Module, set[nn.Module | None]] = field(default_factory=dict)
    """Convolution → the normalizations that read it; None for any other reader."""
    makers_of: dict[nn.Module, set[nn.Module | None]] = field(default_factory=dict)
    """Normalization → the convolutions that it reads; None for any other input."""

    def watching(self) -> TorchDispatchMode:
        self.makers.clear()
        self.kept.clear()
        return _Readers(self)

    def entered(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.inside = module
        if type(module) in _NORMALIZATIONS:
            self.makers_of.setdefault(module, set()).add(self.makers.get(_storage(inputs[0])) if inputs else None)

    def left(self, module: nn.Module, _inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        self.inside = None
        if type(module) in _CONVOLUTIONS:
            self.makers[_storage(output)] = module
            self.kept.append(output)
            self.readers.setdefault(module, set())

    def read(self, tensor: torch.Tensor) -> None:
        maker = self.makers.get(_storage(tensor))
        if maker is not None:
            self.readers[maker].add(self.inside)

    def returned(self, result: Any) -> None:
        for _, tensor in tensors(result):
            self.read(tensor)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        found = []
        for convolution, readers in self.readers.items():
            (reader, *others) = readers or {None}
            if reader is not None and not others and self.makers_of.get(reader) == {convolution}:
                found.append((self.names[convolution], self.names[reader]))
        return tuple(found)


class _Readers(TorchDispatchMode):
    """Tells ``flow`` of every operator's input."""

    def __init__(self, flow: _Flow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives its constructor no types
        self._flow = flow

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in tree_leaves((args, kwargs or {})):
            if isinstance(each, torch.Tensor):
                self._flow.read(each)
        return func(*args, **(kwargs or {}))


def _storage(tensor: torch.Tensor) -> int:
    """What all views of one piece of memory have in common."""
    return int(tensor.untyped_storage()._cdata)
