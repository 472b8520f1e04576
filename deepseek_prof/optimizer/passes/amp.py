"""Pass ``amp``: matrix products and convolutions in bfloat16 or float16 under autocast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepseek_prof.optimizer.passes.inductor import compiled_refusal, module_of, parameters_of
from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile

PRODUCTS = ("matmul", "conv", "attention")
SAVED = 0.55
"""Part of the time of products that bfloat16 saved on a CPU with AVX512-BF16, compiled (ResNet-50, BERT-base)."""


@dataclass(frozen=True)
class Amp:
    """``dtype`` is ``bfloat16`` or ``float16``; of a ``training``, outputs come in float32, and float16 is scaled."""

    dtype: str = "bfloat16"
    training: bool = False


class AmpHandler:
    """Wraps the call in autocast and leaves the weights as they are."""

    name = "amp"
    order = 50
    lossy = True
    modes = ("inference", "training")

    def configs(self) -> Sequence[Amp]:
        """bfloat16, which keeps the range of float32, before float16."""
        return (Amp(), Amp("float16"))

    def predicted_gain(self, config: Amp, profile: Profile) -> float:
        """By Amdahl's law over the products."""
        share = sum(profile.type_shares.get(kind, 0.0) for kind in PRODUCTS)
        return 1 / (1 - SAVED * min(share, 1.0))

    def refusal(self, config: Amp, captured: Captured) -> str | None:
        """Refuses a compiled module, other weights than float32, autocast inside autocast, and types that the hardware
        only emulates."""
        import torch

        if reason := compiled_refusal(captured):
            return reason
        types = parameters_of(captured.module)
        if types != {torch.float32}:
            found = ", ".join(sorted(str(each) for each in types)) or "none"
            return f"autocast is for float32 weights; here: {found}"
        if torch.is_autocast_enabled(captured.device):
            return "the program runs the module under autocast already"
        unsupported = _unsupported(config.dtype, captured.device)
        if unsupported is None and captured.training and config.dtype == "float16" and len(captured.optimizers) != 1:
            return f"float16 needs one optimizer whose gradients are scaled, and there are {len(captured.optimizers)}"
        return unsupported

    def apply(self, config: Amp, callee: Callee, captured: Captured) -> Applied:
        """Call under autocast; in training with outputs in float32, in which the program computes its loss.

        float16 in training has its gradients scaled by a GradScaler.

        Raises TypeError where the callee is compiled: its graphs hold float32 operators.
        """
        import torch

        from deepseek_prof.optimizer.values import mapped

        module = module_of(callee, "amp")
        dtype: torch.dtype = getattr(torch, config.dtype)
        device = captured.device

        class Autocast(torch.nn.Module):
            _deepseek_prof_wraps = "inner"

            def __init__(self) -> None:
                super().__init__()
                self.inner = module

            def forward(self, *args: Any, **kwargs: Any) -> Any:
                with torch.autocast(device, dtype):
                    result = self.inner(*args, **kwargs)
                return mapped(result, widened) if captured.training else result

        def widened(value: torch.Tensor) -> torch.Tensor:
            return value.float() if value.dtype == dtype else value

        made = Autocast()
        made.training = captured.module.training  # of itself only: the program may have parts in another mode
        scaler = None
        if captured.training and dtype == torch.float16:
            from deepseek_prof.optimizer.passes.scaling import scaled

            scaler = scaled(made, captured.optimizers[0], device)

        def fired() -> str | None:
            lowered, all_operators = _operators_in(dtype, made, captured)
            scale = f", gradients scaled by {scaler.get_scale():g}" if scaler is not None else ""
            return f"{lowered} of {all_operators} operators gave {config.dtype}{scale}" if lowered else None

        note = "outputs are in float32" if captured.training else f"floating-point outputs may be {config.dtype}"
        return Applied(made, fired, (note,), config=replace(config, training=captured.training))

    def code(self, config: Amp) -> str:
        """A forward under autocast, in training with outputs in float32 and, for float16, with scaled gradients."""
        if config.training:
            return _training_code(config.dtype)
        return (
            "wide_forward = model.forward\n"
            "device = next(model.parameters()).device.type\n\n\n"
            "def forward_in_autocast(*args, **kwargs):\n"
            f"    with torch.autocast(device, torch.{config.dtype}):\n"
            "        return wide_forward(*args, **kwargs)\n\n\n"
            "model.forward = forward_in_autocast"
        )


def _training_code(dtype: str) -> str:
    import inspect

    code = (
        "from torch.utils._pytree import tree_map\n\n"
        "wide_forward = model.forward\n"
        "device = next(model.parameters()).device.type\n\n\n"
        "def widened(value):\n"
        f"    is_low = isinstance(value, torch.Tensor) and value.dtype == torch.{dtype}\n"
        "    return value.float() if is_low else value\n\n\n"
        "def forward_in_autocast(*args, **kwargs):\n"
        "    if not (model.training and torch.is_grad_enabled()):\n"
        "        return wide_forward(*args, **kwargs)\n"
        f"    with torch.autocast(device, torch.{dtype}):\n"
        "        result = wide_forward(*args, **kwargs)\n"
        "    return tree_map(widened, result)\n\n\n"
        "model.forward = forward_in_autocast"
    )
    if dtype != "float16":
        return code
    from deepseek_prof.optimizer.passes.scaling import scaled

    return f"{code}\n\n\n{inspect.getsource(scaled)}\n\n(optimizer,) = optimizers\nscaled(model, optimizer, device)"


def _unsupported(dtype: str, device: str) -> str | None:
    """Why products in ``dtype`` have no instructions of their own on that device, or None."""
    import torch

    if device == "cuda":
        capable = dtype == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)
        return None if capable else "this GPU has no bfloat16 products"
    if device != "cpu":
        return f"not known to help on {device}"
    if dtype == "float16":
        capable = torch.cpu._is_amx_fp16_supported()
    else:
        capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return None if capable else f"this CPU has no {dtype} products"


def _operators_in(dtype: Any, module: Any, captured: Captured) -> tuple[int, int]:
    """Run the first call once more, in eager mode, and count operators: those whose result is of ``dtype``, and all."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from deepseek_prof.optimizer.values import copied

    lowered, operators = 0, 0

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal lowered, operators
            result = func(*args, **(kwargs or {}))
            if str(func) != "aten._to_copy.default":
                operators += 1
                lowered += any(getattr(each, "dtype", None) == dtype for each in tree_leaves(result))
            return result

    call = copied(captured.calls[0])  # the module may write to its inputs
    with Counting():  # type: ignore[no-untyped-call]  # torch gives its constructor no types
        module(*call.args, **call.kwargs)
    return lowered, operators
