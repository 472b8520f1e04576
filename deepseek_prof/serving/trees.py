"""Tensors in the containers that models take and return: visited by path, several values of one structure at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a value that is no container, with its path, such as ``.logits`` or ``[0]``."""
    parts = _parts(value)
    if parts is None:
        yield path, value
        return
    for name, part in parts.items():
        yield from leaves(part, path + name)


def joined(values: Sequence[Any], join: Callable[[str, Sequence[torch.Tensor]], torch.Tensor], path: str = "") -> Any:
    """One value of the same structure as ``values``: tensors by ``join``, everything else as in the first of them."""
    first = values[0]
    if isinstance(first, torch.Tensor):
        return join(path, values)
    parts = [_parts(value) for value in values]
    if parts[0] is None:
        return first
    made = {name: joined([each[name] for each in parts if each is not None], join, path + name) for name in parts[0]}
    return _rebuilt(first, made)


def _parts(value: Any) -> dict[str, Any] | None:
    """The parts of a container by the piece of path that leads to each; None for anything else."""
    if _is_dataclass(value):
        return {f".{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {f".{key}": each for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {f".{name}": each for name, each in zip(value._fields, value, strict=True)}
    if isinstance(value, (list, tuple)):
        return {f"[{index}]": each for index, each in enumerate(value)}
    return None


def _rebuilt(container: Any, made: Mapping[str, Any]) -> Any:
    """A container of the same type around other parts, which come in the order of ``_parts``."""
    kind = type(container)
    if _is_dataclass(container):
        return dataclasses.replace(container, **{name.removeprefix("."): part for name, part in made.items()})
    if isinstance(container, Mapping):
        return kind(zip(container, made.values(), strict=True))
    if isinstance(container, tuple) and hasattr(container, "_fields"):
        return kind(*made.values())
    return kind(made.values())


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)
