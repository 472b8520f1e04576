"""What the optimizer claims where there is nothing to claim: eager against itself, measured as a search measures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import Session
from deepseek_prof.optimizer.candidate import CandidateError, Target, prepared
from deepseek_prof.optimizer.rounds import time_together
from deepseek_prof.optimizer.search import FULL_ROUNDS, QUICK_ROUNDS
from deepseek_prof.optimizer.timing import MIN_GAIN, is_win, ratio

PROGRAM = Path(__file__).resolve().parents[1] / "programs" / "optimize_models.py"
MODELS = ("Dense", "Convolutional", "Recurrent")
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class FalseWins:
    """Three programs a round, each with two eager processes and a third one in the place of a candidate."""

    name: str
    title: str
    claims: Callable[[str, int, int], bool]
    """Whether a win is claimed for the third process of a model, in so many rounds, drawn with a seed."""
    max_rounds: int | None = 20
    in_default_set: bool = False

    def measure_round(self, session: Session, index: int) -> Sample:
        """1 where a win was claimed, else 0, of each program; ``first`` before the second measurement."""
        found: dict[str, float] = {}
        for model in MODELS:
            first = self.claims(model, QUICK_ROUNDS, 2 * index)
            found[f"{model}_first"] = float(first)
            found[model] = float(first and self.claims(model, 5 if session.quick else FULL_ROUNDS, 2 * index + 1))
        return found

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the share of false wins over all rounds, and that of the first measurement alone."""
        if not samples:
            return ()
        shares = [
            {
                "share": sum(sample[f"{model}{suffix}"] for sample in samples for model in MODELS)
                / (len(samples) * len(MODELS))
            }
            for suffix in ("", "_first")
        ]
        return present(
            row([shares[0]], lambda sample: sample["share"] * 100, "false wins", "%", bar=5.0),
            row([shares[1]], lambda sample: sample["share"] * 100, "before the second measurement", "%"),
        )


def claims(model: str, rounds: int, seed: int) -> bool:
    """Whether a win is claimed for a third eager process. Raises BenchmarkError where a process fails."""
    target = Target((sys.executable, str(PROGRAM), model), model, 2, False, environment=(("OMP_NUM_THREADS", "1"),))
    with ExitStack() as stack:
        try:
            processes = [stack.enter_context(prepared(target, (), _TIMEOUT_S)[0]) for _ in range(3)]
            eager, control, candidate = (each.samples for each in time_together(processes, rounds, seed, _TIMEOUT_S))
        except CandidateError as error:
            raise BenchmarkError(str(error)) from error
    found = ratio(eager, candidate)
    return found.median > MIN_GAIN and is_win(found, ratio(eager, control))


FALSE_WINS = FalseWins(
    "optimize-false-wins", "Optimizer: wins claimed for eager against itself, three programs", claims
)
