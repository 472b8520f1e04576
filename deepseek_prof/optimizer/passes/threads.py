"""Pass ``threads``: how many threads work on one operator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured, Profile


@dataclass(frozen=True)
class Threads:
    """``intra_op`` is that of ``torch.set_num_threads``."""

    intra_op: int = 1


class ThreadsHandler:
    """Sets the number for the whole process."""

    name = "threads"
    order = 70
    lossy = False
    modes = ("inference", "training")

    def configs(self) -> Sequence[Threads]:
        """One thread, half the cores, all of them."""
        return tuple(Threads(number) for number in dict.fromkeys((cores(), max(cores() // 2, 1), 1)))

    def predicted_gain(self, config: Threads, profile: Profile) -> float:
        """A guess in the direction of the finding: the profile shows one number of threads only."""
        if "too-few-threads" in profile.findings:
            return 1.2 if config.intra_op > 1 else 0.9
        return 1.1 if "too-many-threads" in profile.findings and config.intra_op < cores() else 1.0

    def refusal(self, config: Threads, captured: Captured) -> str | None:
        """Refuses the number that the program has, more than there are cores, and work on a GPU."""
        import torch

        if captured.device != "cpu":
            return f"the operators run on {captured.device}"
        if config.intra_op == torch.get_num_threads():
            return f"the program has {config.intra_op} already"
        return f"this process may use {cores()} cores" if config.intra_op > cores() else None

    def apply(self, config: Threads, callee: Callee, captured: Captured) -> Applied:
        """Set the number now; what the program sets later is the program's."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(config.intra_op)

        def fired() -> str | None:
            now = torch.get_num_threads()
            return f"{now} threads in place of {before}" if now == config.intra_op != before else None

        return Applied(callee, fired)

    def code(self, config: Threads) -> str:
        """The one statement."""
        return f"torch.set_num_threads({config.intra_op})"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
