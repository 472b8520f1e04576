"""How requests of different lengths come into one batch: which arguments are padded, with what, to which lengths."""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from deepseek_prof.errors import BatchOutputError, UsageError
from deepseek_prof.serving.trees import joined, leaves


@dataclass(frozen=True)
class Padding:
    """One dimension of some arguments that is padded at its end to a common length, and cut again in the results.

    The model has to ignore what is padded, by the mask that is among its arguments.

    Args:
        values: the arguments to pad, by the names in the model's ``forward``, and what to fill each with:
            ``{"input_ids": 0, "attention_mask": 0}``. All of a request must have one length.
        dim: the dimension, 1 or more (0 is the batch).
        buckets: lengths by which requests are sorted, each into the smallest that holds it; only those of one bucket
            share a batch, so that little is padded. Longer requests are refused. Without buckets, all lengths mix.
        pad_to_bucket: pad to the length of the bucket, so that a compiled model sees few shapes, instead of to the
            longest request of the batch.
        output_dim: where the results have that dimension: a number where the model returns one tensor, else a mapping
            from paths such as ``.logits`` or ``[0]``. None: nowhere.

    Raises:
        UsageError: for what does not fit.
    """

    values: Mapping[str, float]
    dim: int = 1
    buckets: tuple[int, ...] = ()
    pad_to_bucket: bool = False
    output_dim: int | Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise UsageError("Padding needs the arguments to pad, such as values={'input_ids': 0}.")
        if self.dim < 1:
            raise UsageError(f"Padding along dimension {self.dim}: it must be 1 or more, for 0 is the batch.")
        if any(bucket < 1 for bucket in self.buckets) or list(self.buckets) != sorted(set(self.buckets)):
            raise UsageError(f"Buckets must be lengths in rising order, not {self.buckets}.")
        if self.pad_to_bucket and not self.buckets:
            raise UsageError("pad_to_bucket needs buckets, such as buckets=(32, 64, 128).")

    def parameters(self, model: Callable[..., Any]) -> inspect.Signature:
        """The model's arguments. Raises UsageError where those to pad are not among them, or Python cannot tell."""
        found = parameters_of(model)
        if unknown := [name for name in self.values if name not in found.parameters]:
            raise UsageError(
                f"The model has no argument {', '.join(unknown)} to pad; it has: {', '.join(found.parameters)}."
            )
        return found

    def bucket(self, length: int) -> int | None:
        """The bucket for a length, or None where there are none. Raises UsageError where it fits none."""
        if not self.buckets:
            return None
        place = bisect_left(self.buckets, length)
        if place == len(self.buckets):
            raise UsageError(f"A request of length {length} is longer than the largest bucket, {self.buckets[-1]}.")
        return self.buckets[place]

    def padded_length(self, lengths: Sequence[int]) -> int:
        """What requests of these lengths, of one bucket, are padded to."""
        longest = max(lengths)
        return (self.bucket(longest) or longest) if self.pad_to_bucket else longest

    def length_of(self, arguments: Mapping[str, Any]) -> int:
        """The length of a request. Raises UsageError where there is none, or more than one."""
        lengths = {}
        for name in self.values:
            value = arguments.get(name)
            if value is None:  # an optional argument
                continue
            if not isinstance(value, torch.Tensor) or value.dim() <= self.dim:
                raise UsageError(f"Argument {name} is to be padded along dimension {self.dim}, which it does not have.")
            lengths[name] = value.shape[self.dim]
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none of them is given"
            raise UsageError(f"The arguments to pad must have one length: {found}.")
        return next(iter(lengths.values()))

    def cut(self, result: Any, length: int, padded: int) -> Any:
        """A result without what was padded. Raises BatchOutputError where ``output_dim`` does not fit it."""
        if self.output_dim is None:
            return result
        dims = self._output_dims(result)

        def shorten(path: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
            (tensor,) = tensors
            dim = dims.get(path)
            if dim is None:
                return tensor
            if not 1 <= dim < tensor.dim() or tensor.shape[dim] != padded:
                raise BatchOutputError(
                    f"Result {path or 'of the model'} has the shape {list(tensor.shape)}: "
                    f"dimension {dim} is not the padded one, of length {padded}; see Padding.output_dim."
                )
            return tensor.narrow(dim, 0, length)

        return joined([result], shorten)

    def _output_dims(self, result: Any) -> Mapping[str, int]:
        paths = [path for path, leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
        # A number would be right for some tensors and cut others that happen to have that size: it must be said.
        dims = {"": self.output_dim} if isinstance(self.output_dim, int) else dict(self.output_dim or {})
        if missing := [path for path in dims if path not in paths]:
            raise BatchOutputError(
                f"Padding.output_dim names {', '.join(path or 'the one tensor' for path in missing)}, but the model "
                f"returns {', '.join(path or 'one tensor' for path in paths) or 'no tensor'}: map these to dimensions."
            )
        return dims


def parameters_of(model: Callable[..., Any]) -> inspect.Signature:
    """The names of a model's arguments. Raises UsageError where Python cannot tell."""
    original = getattr(model, "_orig_mod", model)  # what torch.compile made takes anything
    try:
        return inspect.signature(original.forward if isinstance(original, torch.nn.Module) else original)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Padding needs the names of the model's arguments, which it does not tell: {error}"
        ) from error
