"""Pass ``attention``: models of Transformers that attend by matmul and softmax, switched to the fused operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile

FUSED = "scaled_dot_product"
SAVED = 0.5
"""Of the time of softmax and batched products: the middle of what the finding ``unfused-attention`` measured."""


@dataclass(frozen=True)
class Attention:
    """The fused operator has no options."""


class AttentionHandler:
    """Uses the library's own switch; attention that a program writes itself is left to ``fuse`` and its patterns."""

    name = "attention"
    order = 30
    lossy = False
    modes = ("inference", "training")

    def configs(self) -> Sequence[Attention]:
        """The one config."""
        return (Attention(),)

    def predicted_gain(self, config: Attention, profile: Profile) -> float:
        """Half of softmax and batched products, where the profile found attention in parts."""
        if "unfused-attention" not in profile.findings:
            return 1.0
        share = sum(profile.op_shares.get(name, 0.0) for name in ("aten::bmm", "aten::baddbmm", "aten::_softmax"))
        return 1 / (1 - SAVED * min(share, 1.0))

    def refusal(self, config: Attention, captured: Captured) -> str | None:
        """Needs a model of Transformers in its implementation ``eager`` whose attention weights nobody reads."""
        found = _switchable(captured.module)
        if not found:
            return "no model of Transformers that attends by matmul and softmax"
        if any(each.config.output_attentions for each in found):
            return "the program asks for attention weights, which the fused operator does not give"
        if any(call.kwargs.get("output_attentions") for call in captured.calls):
            return "the call asks for attention weights, which the fused operator does not give"
        return None

    def apply(self, config: Attention, callee: Callee, captured: Captured) -> Applied:
        """Switch in place, whatever wraps the module. Raises ValueError where the library refuses."""
        switched = _switchable(captured.module)
        for each in switched:
            each.set_attn_implementation("sdpa")
            if each.config._attn_implementation != "sdpa":
                raise ValueError(f"{type(each).__name__} does not let its attention be switched")

        def fired() -> str | None:
            calls = _fused_calls(callee, captured)
            return f"{calls} fused attentions a call" if calls else None

        return Applied(callee, fired)

    def code(self, config: Attention) -> str:
        """The library's own switch."""
        return 'model.set_attn_implementation("sdpa")'


def _switchable(module: Any) -> list[Any]:
    """The outermost models of Transformers in ``module`` that are in the implementation ``eager``."""
    found: list[Any] = []
    inside: list[str] = []
    for name, each in module.named_modules():
        if any(not outer or name.startswith(f"{outer}.") for outer in inside):
            continue
        if hasattr(each, "set_attn_implementation") and getattr(each, "config", None) is not None:
            inside.append(name)
            if each.config._attn_implementation == "eager":
                found.append(each)
    return found


def _fused_calls(callee: Callee, captured: Captured) -> int:
    """Run the first call once more, in eager mode, and count the fused operators that it dispatches."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from deepseek_prof.optimizer.values import copied

    calls = 0

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal calls
            calls += FUSED in str(func)
            return func(*args, **(kwargs or {}))

    call = copied(captured.calls[0])
    with Counting():  # type: ignore[no-untyped-call]  # torch gives its constructor no types
        callee(*call.args, **call.kwargs)
    return calls
