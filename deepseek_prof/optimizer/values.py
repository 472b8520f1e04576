"""Arguments and results of modules: their signature, copies of them, and the tensors in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from deepseek_prof.optimizer.protocol import Call

_PLAIN = (int, float, bool, str, bytes, type(None))


def signature(value: Any) -> str:
    """Types, shapes and devices of a value, and the plain values in it: calls of one signature run the same code."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}@{value.device}"
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={signature(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(signature(each) for each in value) + ")"
    return type(value).__qualname__


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A copy of a value with its tensors changed; what is no container of Python is passed on as it is."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(each, change) for each in value))
    if type(value) in (list, tuple):
        return type(value)(mapped(each, change) for each in value)
    if type(value) is dict:
        return {key: mapped(each, change) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not isinstance(value, Mapping):
        fields = {field.name: mapped(getattr(value, field.name), change) for field in dataclasses.fields(value)}
        return dataclasses.replace(
            value, **{each.name: fields[each.name] for each in dataclasses.fields(value) if each.init}
        )
    return value


def cloned(tensor: torch.Tensor) -> torch.Tensor:
    """A copy outside the graph of gradients, which asks for gradients where the original did."""
    copy = tensor.detach().clone()
    return copy.requires_grad_() if tensor.requires_grad else copy


def copied(call: Call) -> Call:
    """The same arguments in tensors of their own."""
    return changed(call, cloned)


def changed(call: Call, change: Callable[[torch.Tensor], torch.Tensor]) -> Call:
    """A copy of a call with its tensors changed."""
    return Call(*mapped(call.given, change))


def tensors(value: Any, path: str = "", inside: frozenset[int] = frozenset()) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a value with its path, such as ``.logits`` or ``[0]``: in containers, dataclasses and objects.

    ``inside`` holds what is being looked through: objects may refer back to each other.
    """
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    if id(value) in inside:
        return
    inside |= {id(value)}
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from tensors(each, f"{path}.{key}", inside)
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from tensors(each, f"{path}[{index}]", inside)
    elif hasattr(value, "__dict__") and not callable(value):
        for key, each in vars(value).items():
            yield from tensors(each, f"{path}.{key}", inside)


def state_bytes(module: torch.nn.Module) -> int | None:
    """Size of a module's parameters and buffers, each counted once wherever it is used; None where there are none."""
    return sum(map(_size_bytes, chain(module.parameters(), module.buffers()))) or None


def _size_bytes(tensor: Any) -> int:
    """Of what holds the data: a tensor that wraps others, as int8 weights do, has the type that it stands for."""
    if is_traceable_wrapper_subclass(tensor):
        return sum(_size_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return int(tensor.numel() * tensor.element_size())


def equal(first: Any, second: Any) -> bool:
    """Whether two values hold the same tensors bit by bit (NaN equal to itself)."""
    left, right = list(tensors(first)), list(tensors(second))
    if [path for path, _ in left] != [path for path, _ in right]:
        return False
    return all(_same(a, b) for (_, a), (_, b) in zip(left, right, strict=True))


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())
