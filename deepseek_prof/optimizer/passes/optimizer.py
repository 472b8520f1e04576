"""Pass ``optimizer``: the program's optimizers in their fused form, which updates all weights in a few kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile

KINDS = ("AdamW", "Adam", "SGD", "Adagrad")
SAVED = 0.7
"""Part of the optimizer's time that the fused form saved on a CPU: AdamW 24.3 ms as a loop, 5.9 ms fused."""
_CHOICES = ("fused", "foreach", "capturable", "differentiable")


@dataclass(frozen=True)
class FusedOptimizer:
    """The fused form has no options."""


class FusedOptimizerHandler:
    """Adds ``fused=True`` where the program makes an optimizer that has this form and chooses none itself."""

    name = "optimizer"
    order = 80
    lossy = False
    modes = ("training",)

    def __init__(self) -> None:
        self._fused: list[str] = []
        self._left: list[str] = []

    def configs(self) -> Sequence[FusedOptimizer]:
        """The one config."""
        return (FusedOptimizer(),)

    def predicted_gain(self, config: FusedOptimizer, profile: Profile) -> float:
        """By Amdahl's law over the optimizer's phase."""
        return 1 / (1 - SAVED * min(profile.phase_shares.get("optimizer", 0.0), 1.0))

    def inject(self, config: FusedOptimizer) -> None:
        """Wrap the constructors of the classes themselves: a subclass of the program's own may rely on their form."""
        import torch

        for name in KINDS:
            kind = getattr(torch.optim, name)
            kind.__init__ = self._fusing(kind, kind.__init__)
        base: Any = torch.optim.Optimizer
        made = base.__init__

        @functools.wraps(made)
        def seen(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            made(optimizer, *args, **kwargs)
            if type(optimizer).__name__ not in KINDS:
                self._left.append(f"{type(optimizer).__name__} has no fused form")

        base.__init__ = seen

    def _fusing(self, kind: Any, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def construct(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            own = [each for each in _CHOICES if kwargs.get(each) is not None and kwargs[each] is not False]
            if type(optimizer) is not kind or own or kwargs.get("fused") is not None:
                if type(optimizer) is kind:
                    self._left.append(f"the program chooses {', '.join(own) or 'fused'} for {kind.__name__} itself")
                original(optimizer, *args, **kwargs)
                return
            original(optimizer, *args, **{**kwargs, "fused": True})
            self._fused.append(kind.__name__)

        return construct

    def refusal(self, config: FusedOptimizer, captured: Captured) -> str | None:
        """Where no optimizer was fused: what each of them is."""
        if self._fused:
            return None
        return "; ".join(dict.fromkeys(self._left)) or "the program made no optimizer of torch.optim"

    def apply(self, config: FusedOptimizer, callee: Callee, captured: Captured) -> Applied:
        """Leaves the module as it is."""

        def fired() -> str | None:
            return f"fused: {', '.join(dict.fromkeys(self._fused))}" if self._fused else None

        return Applied(callee, fired)

    def code(self, config: FusedOptimizer) -> str:
        """Set up anew, in place, each optimizer that has a fused form and for which the program chose no form."""
        return (
            "import inspect\n\n"
            "for optimizer in optimizers:\n"
            f"    is_known = type(optimizer) in ({', '.join(f'torch.optim.{name}' for name in KINDS)})\n"
            "    groups = optimizer.param_groups\n"
            f"    if not is_known or any(group.get(form) for group in groups for form in {_CHOICES!r}):\n"
            "        continue\n"
            '    if any("exp_avg" in state or "momentum_buffer" in state for state in optimizer.state.values()):\n'
            '        raise ValueError("apply this before the first step of the optimizer")\n'
            "    words = inspect.signature(type(optimizer)).parameters.keys() & optimizer.defaults.keys()\n"
            "    options = {word: optimizer.defaults[word] for word in words}\n"
            '    fused = [{**group, "fused": True} for group in groups]\n'
            '    optimizer.__init__(fused, **{**options, "fused": True})'
        )
