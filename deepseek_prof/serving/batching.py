"""Calls become a batch and its result becomes theirs: what may be joined, how, and how it is divided again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepseek_prof.errors import BatchOutputError, UsageError
from deepseek_prof.serving.padding import Padding
from deepseek_prof.serving.trees import joined, leaves


@dataclass(frozen=True)
class Inputs:
    """The arguments of one call; inputs of the same ``key`` may be joined."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    rows: int
    """Size of dimension 0, which all tensors share."""
    length: int
    """Size of the padded dimension; 0 without padding."""
    key: Hashable


class Batching:
    """Joins and divides calls of one model.

    Raises:
        UsageError: the padding does not fit the model.
    """

    def __init__(self, model: Callable[..., Any], padding: Padding | None) -> None:
        self._model = model
        self._padding = padding
        self._parameters = None if padding is None else padding.parameters(model)

    def inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Inputs:
        """Check the arguments of a call.

        Raises:
            UsageError: their shapes do not fit, one is neither tensor nor hashable, the call is too long for the
                padding's buckets or, where there is padding, the model does not take them.
        """
        length, bucket = 0, None
        if self._padding is not None and self._parameters is not None:
            bound = _bound(self._parameters, args, kwargs)
            args, kwargs = bound.args, bound.kwargs
            length = self._padding.length_of(bound.arguments)
            bucket = self._padding.bucket(length)
        rows: int | None = None
        key: list[Hashable] = [bucket]
        names = self._names(args, kwargs)
        for path, leaf in leaves((args, kwargs)):
            if not isinstance(leaf, torch.Tensor):
                key.append((path, type(leaf), _hashable(names.get(path, path), leaf)))
                continue
            if leaf.dim() == 0:
                raise UsageError(f"Argument {names.get(path, path)} is a tensor without dimensions: 0 is the batch.")
            if rows not in (None, leaf.shape[0]):
                raise UsageError(
                    f"All tensors must have as many rows in dimension 0; found {rows} and {leaf.shape[0]}."
                )
            rows = leaf.shape[0]
            key.append((path, leaf.dtype, leaf.device, self._fixed_shape(names.get(path), leaf)))
        if not rows:
            raise UsageError("A call needs at least one tensor with at least one row.")
        return Inputs(args, kwargs, rows, length, tuple(key))

    def run(self, inputs: Sequence[Inputs]) -> list[Any]:
        """Call the model once with all inputs, of one key; one result for each. Raises what the model raises.

        Raises:
            BatchOutputError: the result cannot be divided.
        """
        padded = 0
        if self._padding is not None:
            padded = self._padding.padded_length([each.length for each in inputs])
        args, kwargs = self._joined(inputs, padded)
        result = self._model(*args, **kwargs)
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type != "cpu" for _, leaf in leaves(result)):
            torch.accelerator.synchronize()  # the caller may use another stream than this thread
        return self._divided(result, inputs, padded)

    def _joined(self, inputs: Sequence[Inputs], padded: int) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        first = inputs[0]
        if len(inputs) == 1 and padded == first.length:
            return first.args, first.kwargs
        names = self._names(first.args, first.kwargs)

        def join(path: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
            name = names.get(path)
            if self._padding is None or name is None or name not in self._padding.values:
                return torch.cat(list(tensors))
            shape = [sum(each.rows for each in inputs), *tensors[0].shape[1:]]
            shape[self._padding.dim] = padded
            whole = tensors[0].new_full(shape, self._padding.values[name])
            start = 0
            for tensor in tensors:
                rows = whole.narrow(0, start, tensor.shape[0])
                rows.narrow(self._padding.dim, 0, tensor.shape[self._padding.dim]).copy_(tensor)
                start += tensor.shape[0]
            return whole

        args, kwargs = joined([(each.args, dict(each.kwargs)) for each in inputs], join)
        return args, kwargs

    def _divided(self, result: Any, inputs: Sequence[Inputs], padded: int) -> list[Any]:
        rows = sum(each.rows for each in inputs)
        for path, leaf in leaves(result):
            where = f"Result {path or 'of the model'}"
            if isinstance(leaf, torch.Tensor):
                if leaf.dim() == 0 or leaf.shape[0] != rows:
                    raise BatchOutputError(
                        f"{where} has the shape {list(leaf.shape)} for a batch of {rows} rows: "
                        "dimension 0 must be the batch. Return what belongs to single rows only."
                    )
            elif leaf is not None:
                raise BatchOutputError(
                    f"{where} is of type {type(leaf).__name__}: only tensors, None and containers of them can be "
                    "divided among the requests of a batch."
                )
        results, start = [], 0
        for each in inputs:
            own = self._rows(result, start, each.rows, alone=len(inputs) == 1)
            results.append(own if self._padding is None else self._padding.cut(own, each.length, padded))
            start += each.rows
        return results

    def _rows(self, result: Any, start: int, rows: int, *, alone: bool) -> Any:
        if alone:
            return result
        # Copies: a caller that keeps its rows would keep the whole batch, and one that writes to them would share it.
        return joined([result], lambda _, tensors: tensors[0].narrow(0, start, rows).clone())

    def _names(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, str]:
        """Names of the arguments by their paths in ``(args, kwargs)``; bound ones come in the order of the model's."""
        names = {f"[1].{name}": name for name in kwargs}
        if self._parameters is not None:
            parameters = list(self._parameters.parameters)
            names |= {f"[0][{index}]": name for index, name in enumerate(parameters[: len(args)])}
        return names

    def _fixed_shape(self, name: str | None, tensor: torch.Tensor) -> tuple[int, ...]:
        """What must be the same in one batch: the shape without the rows and without what is padded."""
        shape = list(tensor.shape[1:])
        if self._padding is not None and name in self._padding.values:
            shape[self._padding.dim - 1] = -1
        return tuple(shape)


def _bound(parameters: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    try:
        return parameters.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(f"The model does not take these arguments: {error}.") from error


def _hashable(name: str, value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError as error:
        raise UsageError(
            f"Argument {name} is of type {type(value).__name__}: give tensors, containers of them, or hashable values."
        ) from error
    found: Hashable = value
    return found
