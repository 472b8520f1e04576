"""Pass ``accumulate``: a batch in parts whose gradients add up, so that one part's activations are held at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.passes.checkpoint import COST
from deepseek_prof.optimizer.passes.inductor import compiled_refusal, module_of
from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


def in_parts(model: Any, parts: int) -> None:
    """Let ``model`` take its batch, dimension 0 of all tensors, in ``parts``, each computed again in the backward pass.

    The parts' results are joined: the program computes its loss of the whole batch, and the gradients are those of it.
    """
    import torch
    from torch.utils._pytree import tree_leaves, tree_map
    from torch.utils.checkpoint import checkpoint

    forward = model.forward

    def plain(value: Any) -> Any:
        if not isinstance(value, (int, float, str, bytes, type(None))):
            raise TypeError(f"a {type(value).__name__} cannot be taken in parts")
        return value

    def forward_in_parts(*args: Any, **kwargs: Any) -> Any:
        if not (model.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        count = min(parts, *(len(each) for each in tensors))

        def part(index: int) -> Any:
            def rows(value: Any) -> Any:
                return value.tensor_split(count)[index] if isinstance(value, torch.Tensor) else plain(value)

            return checkpoint(forward, *tree_map(rows, args), use_reentrant=False, **tree_map(rows, kwargs))

        def joined(first: Any, *others: Any) -> Any:
            return torch.cat((first, *others)) if isinstance(first, torch.Tensor) else plain(first)

        return tree_map(joined, *(part(index) for index in range(count)))

    model.forward = forward_in_parts


@dataclass(frozen=True)
class Accumulate:
    """``parts`` of a batch."""

    parts: int = 2


class AccumulateHandler:
    """Keeps the batch and the loss of the program, and with them what it learns; saves memory and costs time."""

    name = "accumulate"
    order = 56
    lossy = False
    modes = ("training",)

    def configs(self) -> Sequence[Accumulate]:
        """Two, four and eight parts."""
        return tuple(Accumulate(parts) for parts in (2, 4, 8))

    def predicted_gain(self, config: Accumulate, profile: Profile) -> float:
        """Below 1: the forward pass is done twice, and with smaller operators."""
        return 1 / COST

    def refusal(self, config: Accumulate, captured: Captured) -> str | None:
        """Needs a batch of so many rows, each with results of its own: no statistics over the batch."""
        import torch

        if not captured.training:
            return "the module is not in training: there is no backward pass to keep anything for"
        if reason := compiled_refusal(captured):
            return reason
        norms = (torch.nn.modules.batchnorm._BatchNorm,)
        named = next(
            (name or "the module" for name, each in captured.module.named_modules() if isinstance(each, norms)), None
        )
        if named is not None:
            return f"{named} normalizes over the batch: its parts would give other results"
        return _mixed(config.parts, captured)

    def apply(self, config: Accumulate, callee: Callee, captured: Captured) -> Applied:
        """Give the module another forward, in place. Dropout draws other numbers for parts."""
        import torch

        from deepseek_prof.optimizer.probing import draws_random

        is_random = draws_random(captured)
        module: Any = module_of(callee, "accumulate")
        forward, again = module.forward, [0]

        def counted(*args: Any, **kwargs: Any) -> Any:
            again[0] += torch._C._current_graph_task_id() != -1  # inside of a backward pass
            return forward(*args, **kwargs)

        module.forward = counted
        in_parts(module, config.parts)

        def fired() -> str | None:
            return f"{config.parts} parts, {again[0]} computed again in the first steps" if again[0] else None

        notes = ("parts of a batch draw other random numbers than the whole",) if is_random else ()
        return Applied(module, fired, notes, lossy=is_random)

    def code(self, config: Accumulate) -> str:
        """The same function."""
        import inspect

        return f"from typing import Any\n\n\n{inspect.getsource(in_parts)}\n\nin_parts(model, {config.parts})"


def _mixed(parts: int, captured: Captured) -> str | None:
    """Why the first call cannot be made in parts, or None; by a call of the whole and one of its first part."""
    import torch
    from torch.utils._pytree import tree_leaves

    from deepseek_prof.optimizer.batches import BatchError, rows_of, with_rows
    from deepseek_prof.optimizer.probing import draws_random, unseen
    from deepseek_prof.optimizer.values import tensors

    plain = (torch.Tensor, int, float, str, bytes, type(None))
    try:
        rows = rows_of(captured.calls[0])
        if rows < parts:
            return f"the batch has {rows} rows, fewer than {parts} parts"
        some = -(-rows // parts)
        results = []
        with unseen(captured.module):
            for count in (rows, some):
                call = with_rows(captured.calls[0], count)
                result = captured.module(*call.args, **call.kwargs)
                for each in tree_leaves((call.given, result)):
                    if not isinstance(each, plain):
                        return f"a {type(each).__name__} cannot be taken in parts"
                results.append(dict(tensors(result)))
    except BatchError as error:
        return str(error)
    whole, first = results
    is_random = draws_random(captured)
    for path, value in whole.items():
        part = first.get(path)
        if part is None or not value.dim() or (len(value), len(part)) != (rows, some):
            return f"result {path or 'of the module'} of shape {list(value.shape)} has no {rows} rows"
        if not is_random and not torch.allclose(value[:some], part, rtol=1e-3, atol=1e-4 * float(value.abs().max())):
            return "rows change each other's results"
    return None if whole else "the module returns no tensor"
