"""Pass ``fold``: batch normalization in evaluation, computed into the weights of the convolution before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


@dataclass(frozen=True)
class Fold:
    """Folding has no options."""


class FoldHandler:
    """Goes by the data flow of a symbolic trace, for names and order of modules do not say what follows what."""

    name = "fold"
    order = 10
    lossy = False
    modes = ("inference",)

    def configs(self) -> Sequence[Fold]:
        """The one config."""
        return (Fold(),)

    def predicted_gain(self, config: Fold, profile: Profile) -> float:
        """The normalization's own time, where there are convolutions to take it up."""
        return 1 / (1 - min(profile.type_shares.get("norm", 0.0), 0.9)) if profile.type_shares.get("conv") else 1.0

    def refusal(self, config: Fold, captured: Captured) -> str | None:
        """Needs a convolution and a batch normalization in evaluation."""
        import torch

        if captured.training:
            return "the module is in training, where the statistics change at each step"
        kinds = [type(each) for each in captured.module.modules()]
        if not any(issubclass(each, torch.nn.modules.batchnorm._BatchNorm) for each in kinds):
            return "no batch normalization"
        if not any(issubclass(each, torch.nn.modules.conv._ConvNd) for each in kinds):
            return "no convolution"
        return None

    def apply(self, config: Fold, callee: Callee, captured: Captured) -> Applied:
        """A traced copy of the module without the folded normalizations. Raises what the trace raises."""
        import torch
        from torch.fx.experimental.optimization import fuse

        if callee is not captured.module:
            raise TypeError("folding needs the module itself, and another pass has replaced it")
        before = _normalizations(captured.module)
        folded = fuse(captured.module.eval(), no_trace=False)
        removed = before - _normalizations(folded)

        def fired() -> str | None:
            return f"{removed} of {before} normalizations folded" if removed else None

        assert isinstance(folded, torch.nn.Module)
        return Applied(folded, fired)

    def code(self, config: Fold) -> str:
        """torch's own folding."""
        return "from torch.fx.experimental.optimization import fuse\n\nmodel = fuse(model.eval())"


def _normalizations(module: Any) -> int:
    import torch

    return sum(isinstance(each, torch.nn.modules.batchnorm._BatchNorm) for each in module.modules())
