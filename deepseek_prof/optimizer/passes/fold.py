"""Pass ``fold``: batch normalization in evaluation, computed into the weights of the convolution before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


@dataclass(frozen=True)
class Fold:
    """``pairs`` names (convolution, normalization); where there are none, they are found on the captured calls."""

    pairs: tuple[tuple[str, str], ...] = ()


class FoldHandler:
    """Goes by the data flow of the captured calls, for names and order of modules do not say what follows what."""

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
        """Needs a convolution whose output goes into a batch normalization in evaluation, and nowhere else."""
        import torch

        if captured.training:
            return "the module is in training, where the statistics change at each step"
        kinds = [type(each) for each in captured.module.modules()]
        if not any(issubclass(each, torch.nn.modules.batchnorm._BatchNorm) for each in kinds):
            return "no batch normalization"
        if not any(issubclass(each, torch.nn.modules.conv._ConvNd) for each in kinds):
            return "no convolution"
        return None if _pairs(config, captured) else "no convolution's output goes into a batch normalization alone"

    def apply(self, config: Fold, callee: Callee, captured: Captured) -> Applied:
        """Change the module in place. Raises TypeError where another pass has replaced it."""
        if callee is not captured.module:
            raise TypeError("folding needs the module itself, and another pass has replaced it")
        before = _normalizations(captured.module)
        pairs = _pairs(config, captured)
        for convolution, normalization in pairs:
            _fold(captured.module, convolution, normalization)

        def fired() -> str | None:
            removed = before - _normalizations(captured.module)
            return f"{removed} of {before} normalizations folded" if removed else None

        return Applied(callee, fired, config=Fold(pairs))

    def code(self, config: Fold) -> str:
        """torch's own folding of two modules, for each of the pairs."""
        pairs = "".join(f"    {pair!r},\n" for pair in config.pairs)
        return (
            "from torch.nn.utils.fusion import fuse_conv_bn_eval\n\n"
            "# (convolution, the normalization that alone reads its output)\n"
            f"pairs = [\n{pairs}]\n"
            "for convolution, normalization in pairs:\n"
            "    folded = fuse_conv_bn_eval(model.get_submodule(convolution), model.get_submodule(normalization))\n"
            "    for name, module in ((convolution, folded), (normalization, torch.nn.Identity())):\n"
            '        parent, _, attribute = name.rpartition(".")\n'
            "        setattr(model.get_submodule(parent), attribute, module)"
        )


def _pairs(config: Fold, captured: Captured) -> tuple[tuple[str, str], ...]:
    from deepseek_prof.optimizer.dataflow import foldable

    return config.pairs or foldable(captured.module, captured.calls)


def _fold(module: Any, convolution: str, normalization: str) -> None:
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    folded = fuse_conv_bn_eval(module.get_submodule(convolution), module.get_submodule(normalization))
    for name, made in ((convolution, folded), (normalization, torch.nn.Identity())):
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, made)


def _normalizations(module: Any) -> int:
    import torch

    return sum(isinstance(each, torch.nn.modules.batchnorm._BatchNorm) for each in module.modules())
