"""``deepseek-prof --help``: the time before the command line says anything, beside Python's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Row, Sample, present, row
from benchmarks.session import Session, deepseek_prof


@dataclass(frozen=True)
class StartUp:
    """Whole-process time of ``--help`` and of an empty Python program."""

    name: str = "start-up"
    title: str = "Start-up of the command line"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run both once, the order turned over each round."""
        commands = {"help_s": (*deepseek_prof(), "--help"), "python_s": (sys.executable, "-c", "")}
        names = sorted(commands, reverse=bool(index % 2))
        return {name: session.run_command(commands[name]).wall_s for name in names}

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return ``--help`` and the floor under it."""
        return present(
            row(samples, lambda sample: sample["help_s"], "deepseek-prof --help", "s", bar=0.2),
            row(samples, lambda sample: sample["python_s"], "python -c ''", "s"),
        )
