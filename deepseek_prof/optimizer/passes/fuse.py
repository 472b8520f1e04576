"""Pass ``fuse``: torch.compile, which joins operators into kernels; on CPU with the weights frozen into the code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.optimizer.passes import inductor
from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile
from deepseek_prof.text import counted

JOINABLE = ("elementwise", "activation", "norm", "softmax", "reduction")
SAVED_JOINING = 0.6
SAVED_FREEZING = {"conv": 0.5, "matmul": 0.1}
"""Parts of these operators' time that compiling with frozen weights saved on ResNet-50 and BERT-base (AVX-512 CPU,
torch 2.13): convolutions run with weights packed once in the layout of the kernel, and with what follows them."""


@dataclass(frozen=True)
class Fuse:
    """``mode`` is that of ``torch.compile``; ``freezing`` makes the weights constants (inference on CPU)."""

    mode: str = "default"
    freezing: bool = False


class FuseHandler:
    """Compiles the whole module; what cannot be compiled runs as before, between the graphs."""

    name = "fuse"
    order = 60
    lossy = False
    modes = ("inference", "training")

    def configs(self) -> Sequence[Fuse]:
        """Frozen for CPU inference, plain for training, and the two modes with CUDA graphs."""
        return (Fuse(freezing=True), Fuse(), Fuse(mode="reduce-overhead"), Fuse(mode="max-autotune"))

    def predicted_gain(self, config: Fuse, profile: Profile) -> float:
        """By Amdahl's law over the operators that can be joined and, where frozen, the packed products."""
        saved = SAVED_JOINING * sum(profile.type_shares.get(kind, 0.0) for kind in JOINABLE)
        if config.freezing:
            saved += sum(part * profile.type_shares.get(kind, 0.0) for kind, part in SAVED_FREEZING.items())
        return 1 / (1 - min(saved, 0.9))

    def refusal(self, config: Fuse, captured: Captured) -> str | None:
        """Refuses a second compilation, freezing where it has no effect, and GPU modes elsewhere."""
        if reason := inductor.compiled_refusal(captured):
            return reason
        if config.freezing:
            return inductor.freezing_refusal(captured)
        if config.mode != "default" and captured.device != "cuda":
            return f"mode {config.mode} is for CUDA, and the module is on {captured.device}"
        return None

    def apply(self, config: Fuse, callee: Callee, captured: Captured) -> Applied:
        """Compile lazily, at the first call of each signature. Raises TypeError where it is compiled already.

        Compiled dropout draws other random numbers than eager's, so that the losses of a training differ.
        """
        import torch

        from deepseek_prof.optimizer.probing import draws_random

        module = inductor.module_of(callee, "fuse")
        if config.freezing:
            inductor.freeze()
        is_random = captured.training and draws_random(captured)
        since = inductor.compiled_since()
        compiled = torch.compile(module, mode=None if config.mode == "default" else config.mode)

        def fired() -> str | None:
            counts = since()
            if not counts["graphs"]:
                return None
            packed = sum(count for name, count in counts.items() if name.endswith("weight_pack_matcher_count"))
            parts = [counted(counts["graphs"], "graph"), counted(counts["kernels"], "kernel")]
            return ", ".join([*parts, counted(packed, "packed weight")] if config.freezing else parts)

        notes = ("the compiled module draws other random numbers than eager",) if is_random else ()
        return Applied(compiled, fired, notes, compiles=(module,), lossy=is_random)

    def code(self, config: Fuse) -> str:
        """The global switch, for the option of ``torch.compile`` has no effect."""
        mode = "" if config.mode == "default" else f", mode={config.mode!r}"
        frozen = "import torch._inductor.config\n\ntorch._inductor.config.freezing = True\n" if config.freezing else ""
        return f"{frozen}model = torch.compile(model{mode})"
