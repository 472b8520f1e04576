"""Pass ``threads``: how many threads work on one operator, and how many operators run at once where a program forks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


@dataclass(frozen=True)
class Threads:
    """Of ``torch.set_num_threads`` and ``torch.set_num_interop_threads``; 0: as the program has it."""

    intra_op: int = 1
    inter_op: int = 0


class ThreadsHandler:
    """Sets the number for the whole process."""

    name = "threads"
    order = 70
    lossy = False
    modes = ("inference", "training")

    def configs(self) -> Sequence[Threads]:
        """One thread, half the cores, all of them for an operator; then one and half between operators."""
        intra = tuple(Threads(number) for number in dict.fromkeys((cores(), max(cores() // 2, 1), 1)))
        return (*intra, *(Threads(0, number) for number in dict.fromkeys((max(cores() // 2, 1), 1))))

    def predicted_gain(self, config: Threads, profile: Profile) -> float:
        """A guess in the direction of the finding: the profile shows one number of threads only.

        Threads between operators matter where a program forks (``torch.jit.fork``), which a profile does not show.
        """
        if not config.intra_op:
            return 0.99
        if "too-few-threads" in profile.findings:
            return 1.2 if config.intra_op > 1 else 0.9
        return 1.1 if "too-many-threads" in profile.findings and config.intra_op < cores() else 1.0

    def refusal(self, config: Threads, captured: Captured) -> str | None:
        """Refuses the numbers that the program has, more than there are cores, and work on a GPU."""
        import torch

        if captured.device != "cpu":
            return f"the operators run on {captured.device}"
        if config.intra_op == torch.get_num_threads():
            return f"the program has {config.intra_op} already"
        if config.inter_op == torch.get_num_interop_threads():
            return f"the program has {config.inter_op} between operators already"
        return f"this process may use {cores()} cores" if max(config.intra_op, config.inter_op) > cores() else None

    def apply(self, config: Threads, callee: Callee, captured: Captured) -> Applied:
        """Set the numbers now; what the program sets later is the program's.

        Raises RuntimeError where threads between operators run already, for their number is then fixed.
        """
        import torch

        before = _numbers()
        if config.intra_op:
            torch.set_num_threads(config.intra_op)
        if config.inter_op:
            torch.set_num_interop_threads(config.inter_op)
        wanted = (config.intra_op or before[0], config.inter_op or before[1])

        def fired() -> str | None:
            if _numbers() != wanted or wanted == before:
                return None
            changed = zip(wanted, before, ("", " between operators"), strict=True)
            return ", ".join(f"{now} threads in place of {was}{where}" for now, was, where in changed if now != was)

        return Applied(callee, fired)

    def code(self, config: Threads) -> str:
        """A statement for each number."""
        lines = [f"torch.set_num_threads({config.intra_op})"] if config.intra_op else []
        lines += [f"torch.set_num_interop_threads({config.inter_op})"] if config.inter_op else []
        return "\n".join(lines)


def _numbers() -> tuple[int, int]:
    import torch

    return torch.get_num_threads(), torch.get_num_interop_threads()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
