"""Where training steps end, and the tensors that their backward passes begin from. Standard library and torch only."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

Seen = Callable[[], None]


class StepEnds:
    """Which call of ``Optimizer.step`` ends a step: that of the last optimizer of a cycle, as a recording has it."""

    def __init__(self) -> None:
        self._cycle: list[int] = []
        self._closer: int | None = None

    def ends(self, optimizer: object) -> bool:
        """Whether a step ends with this one. The first cycle shows only which optimizer is the last."""
        key = id(optimizer)
        if self._closer is None:
            if key not in self._cycle:
                self._cycle.append(key)
                return False
            self._closer = self._cycle[-1]
        return key == self._closer


def watch_steps(ended: Seen) -> None:
    """Call ``ended`` at the end of every training step, within the optimizer's own ``step``."""
    ends = StepEnds()

    def stepped(optimizer: torch.optim.Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        if ends.ends(optimizer):
            ended()

    register_optimizer_step_post_hook(stepped)


def watch_optimizers(made: list[torch.optim.Optimizer]) -> None:
    """Add every optimizer that the program makes to ``made``."""
    home: Any = torch.optim.Optimizer
    original = home.__init__

    @functools.wraps(original)
    def construct(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        original(optimizer, *args, **kwargs)
        if not any(optimizer is each for each in made):
            made.append(optimizer)

    home.__init__ = construct


def watch_losses(began: Callable[[torch.Tensor], None]) -> None:
    """Call ``began`` with the sum of what a backward pass begins from, in float64 and outside of the graph.

    A backward pass inside another one (checkpoints that are reentrant) begins from no loss and is left out.
    """
    home: Any = torch.autograd  # where every backward pass goes through, as the recorder has it
    original = home._engine_run_backward
    depth = 0

    def run_backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal depth
        if torch.compiler.is_compiling():
            return original(tensors, *args, **kwargs)
        if depth == 0:
            given = tensors if isinstance(tensors, (tuple, list)) else (tensors,)
            sums = [each.detach().double().sum() for each in given if isinstance(each, torch.Tensor)]
            if sums:
                began(torch.stack(sums).sum() if len(sums) > 1 else sums[0])
        depth += 1
        try:
            return original(tensors, *args, **kwargs)
        finally:
            depth -= 1

    home._engine_run_backward = run_backward
