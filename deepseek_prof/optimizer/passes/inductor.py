"""What the passes that compile share: frozen weights, what Inductor counted, what is compiled already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deepseek_prof.optimizer.protocol import Callee, Captured

if TYPE_CHECKING:
    import torch


def is_compiled(callee: Callee) -> bool:
    """Whether ``callee`` or a module inside it is a result of ``torch.compile``, by the program or by another pass."""
    import torch
    from torch._dynamo.eval_frame import OptimizedModule

    if not isinstance(callee, torch.nn.Module):
        return hasattr(callee, "_torchdynamo_orig_callable")
    return any(
        isinstance(each, OptimizedModule) or getattr(each, "_compiled_call_impl", None) is not None
        for each in callee.modules()
    )


def compiled_refusal(captured: Captured) -> str | None:
    """Why a pass that needs the module before it is compiled cannot be applied, or None."""
    return "the program compiles the module itself" if is_compiled(captured.module) else None


def freezing_refusal(captured: Captured) -> str | None:
    """Why weights cannot become constants of the compiled code at the captured call, or None.

    Inductor freezes only where no gradient can be asked for, and says nothing where it does not.
    """
    import torch

    if captured.device != "cpu":
        return f"freezing is for CPU, and the module is on {captured.device}"
    if captured.training:
        return "the module is in training, where the weights change"
    if torch.is_grad_enabled():
        return "gradients are enabled at the call; run the model under torch.inference_mode() or torch.no_grad()"
    return None


def freeze() -> None:
    """Let Inductor make weights constants, from now on and in this whole process.

    The option of the same name of ``torch.compile`` has no effect (torch 2.13), and a patch for the time of one call
    would miss later compilations for other shapes.
    """
    import torch._inductor.config as inductor_config

    setattr(inductor_config, "freezing", True)  # noqa: B010  # the module declares no such attribute to mypy


def compiled_since() -> Callable[[], dict[str, int]]:
    """Start counting; the result tells what Dynamo and Inductor did since, by name.

    ``graphs`` are Dynamo's, ``kernels`` those that Inductor wrote itself, everything else counts of its pattern
    matcher, such as ``qlinear_weight_prepack_matcher_count``.
    """
    before = _counts()

    def since() -> dict[str, int]:
        return {name: count - before.get(name, 0) for name, count in _counts().items()}

    return since


def _counts() -> dict[str, int]:
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    return {
        **counters["inductor"],
        "graphs": counters["stats"]["unique_graphs"],
        "kernels": metrics.generated_kernel_count,
    }


def module_of(callee: Callee, purpose: str) -> torch.nn.Module:
    """``callee`` as a module that is not compiled. Raises TypeError where it is neither, with what it is needed for."""
    import torch

    if is_compiled(callee):
        raise TypeError(f"{purpose} needs the module before it is compiled, and it is compiled already")
    if not isinstance(callee, torch.nn.Module):
        raise TypeError(f"{purpose} needs a module, and an earlier pass made a {type(callee).__name__} of it")
    return callee


def parameters_of(module: Any) -> set[Any]:
    """The data types of the module's floating-point parameters."""
    return {each.dtype for each in module.parameters() if each.is_floating_point()}
