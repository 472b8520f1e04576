"""Pass ``checkpoint``: repeated blocks keep their inputs only and compute the rest again in the backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.passes.inductor import compiled_refusal
from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile

COST = 1.33
"""A step with the forward pass of everything done twice, where the backward pass takes twice its time."""


@dataclass(frozen=True)
class Checkpoint:
    """``blocks``: names of those that are computed again, for the hand-over; the pass finds them itself."""

    blocks: tuple[str, ...] = ()


class CheckpointHandler:
    """Wraps the forward of every block; it saves memory and costs time."""

    name = "checkpoint"
    order = 55
    lossy = False
    modes = ("training",)

    def configs(self) -> Sequence[Checkpoint]:
        """The one config."""
        return (Checkpoint(),)

    def predicted_gain(self, config: Checkpoint, profile: Profile) -> float:
        """Below 1: the blocks' forward is done twice."""
        return 1 / COST

    def refusal(self, config: Checkpoint, captured: Captured) -> str | None:
        """Needs a block of several layers that occurs at least twice in one container, and no compiled module."""
        if not captured.training:
            return "the module is not in training: there is no backward pass to keep anything for"
        if reason := compiled_refusal(captured):
            return reason
        return None if _blocks(captured.module) else "no block of layers is repeated"

    def apply(self, config: Checkpoint, callee: Callee, captured: Captured) -> Applied:
        """Give the blocks of the module another forward, in place."""
        blocks = _blocks(captured.module)
        again = [0]
        for block in blocks:
            block.forward = _checkpointed(block, block.forward, again)

        def fired() -> str | None:
            return f"{len(blocks)} blocks, computed again {again[0]} times in the first steps" if again[0] else None

        names = tuple(name for name, each in captured.module.named_modules() if any(each is block for block in blocks))
        return Applied(callee, fired, config=Checkpoint(names))

    def code(self, config: Checkpoint) -> str:
        """Another forward of each of the blocks, by name."""
        return (
            "from torch.utils.checkpoint import checkpoint\n\n\n"
            "def computed_again(block, forward):\n"
            "    def call(*args, **kwargs):\n"
            "        if not (block.training and torch.is_grad_enabled()):\n"
            "            return forward(*args, **kwargs)\n"
            "        return checkpoint(forward, *args, use_reentrant=False, **kwargs)\n\n"
            "    return call\n\n\n"
            f"for name in {list(config.blocks)!r}:\n"
            "    block = model.get_submodule(name)\n"
            "    block.forward = computed_again(block, block.forward)"
        )


def _checkpointed(block: Any, forward: Callable[..., Any], again: list[int]) -> Callable[..., Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    def counted(*args: Any, **kwargs: Any) -> Any:
        again[0] += torch._C._current_graph_task_id() != -1  # inside of a backward pass
        return forward(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(counted, *args, use_reentrant=False, **kwargs)

    return call


def _blocks(module: Any) -> list[Any]:
    """Of the containers with repeated blocks, the blocks of the one that holds the most weights; a block has layers."""
    import torch

    found: list[list[Any]] = []
    for container in module.modules():
        if isinstance(container, (torch.nn.ModuleList, torch.nn.Sequential)):
            layers = [each for each in container.children() if any(True for _ in each.children())]
            kinds = Counter(type(each) for each in layers)
            found += [[each for each in layers if type(each) is kind] for kind, count in kinds.items() if count > 1]
    return max(
        found, key=lambda blocks: sum(each.numel() for block in blocks for each in block.parameters()), default=[]
    )
