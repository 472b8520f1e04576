"""Pass ``layout``: convolutions and what is between them in channels_last, the layout of the fast kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


@dataclass(frozen=True)
class Layout:
    """channels_last has no options."""


class LayoutHandler:
    """Moves the weights once; inputs of four dimensions at each call."""

    name = "layout"
    order = 20
    lossy = False
    modes = ("inference", "training")

    def configs(self) -> Sequence[Layout]:
        """The one config."""
        return (Layout(),)

    def predicted_gain(self, config: Layout, profile: Profile) -> float:
        """Convolutions gain about a fifth where their layout is reordered at each call."""
        share = profile.type_shares.get("conv", 0.0)
        return 1 / (1 - 0.2 * share)

    def refusal(self, config: Layout, captured: Captured) -> str | None:
        """Needs a convolution in two dimensions whose weight is not in that layout already."""
        import torch

        convolutions = [each for each in captured.module.modules() if isinstance(each, torch.nn.Conv2d)]
        if not convolutions:
            return "no Conv2d layer"
        return "the weights are in channels_last already" if all(_is_moved(each) for each in convolutions) else None

    def apply(self, config: Layout, callee: Callee, captured: Captured) -> Applied:
        """Convert the module in place and its inputs at each call."""
        import torch

        whole = callee if isinstance(callee, torch.nn.Module) else captured.module
        module = whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a keyword of its own

        def converted(value: Any) -> Any:
            if isinstance(value, torch.Tensor) and value.dim() == 4:
                return value.contiguous(memory_format=torch.channels_last)
            return value

        class ChannelsLast(torch.nn.Module):
            _deepseek_prof_wraps = "inner"

            def __init__(self, inner: Callee) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, *args: Any, **kwargs: Any) -> Any:
                return self.inner(
                    *(converted(each) for each in args), **{key: converted(each) for key, each in kwargs.items()}
                )

        def fired() -> str | None:
            moved = sum(_is_moved(each) for each in module.modules() if isinstance(each, torch.nn.Conv2d))
            return f"{moved} convolution weights in channels_last" if moved else None

        return Applied(ChannelsLast(callee), fired)

    def code(self, config: Layout) -> str:
        """Convert the weights, and inputs of four dimensions in front of forward."""
        return (
            "model = model.to(memory_format=torch.channels_last)\n"
            "planar_forward = model.forward\n\n\n"
            "def moved(value):\n"
            "    is_image = isinstance(value, torch.Tensor) and value.dim() == 4\n"
            "    return value.contiguous(memory_format=torch.channels_last) if is_image else value\n\n\n"
            "def forward_in_channels_last(*args, **kwargs):\n"
            "    kwargs = {name: moved(value) for name, value in kwargs.items()}\n"
            "    return planar_forward(*map(moved, args), **kwargs)\n\n\n"
            "model.forward = forward_in_channels_last"
        )


def _is_moved(convolution: Any) -> bool:
    import torch

    return bool(convolution.weight.is_contiguous(memory_format=torch.channels_last))
