"""What the optimizer claims of trainings where there is nothing to claim: eager against itself, step by step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.measurements.optimize_false_wins import MODELS, share_rows
from benchmarks.results import BenchmarkError, Row, Sample
from benchmarks.session import Session
from deepseek_prof.optimizer.candidate import CandidateError, Target
from deepseek_prof.optimizer.measure import time_together
from deepseek_prof.optimizer.search import FULL_ROUNDS, QUICK_ROUNDS
from deepseek_prof.optimizer.timing import MIN_GAIN, is_win, ratio_of
from deepseek_prof.optimizer.training_loss import Curves, compare
from deepseek_prof.optimizer.training_measure import TrainingProcess

MODULE = "benchmarks.programs.optimize_trainings"
_REPEATS = 10
"""Steps of a round: some tens of milliseconds."""
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class TrainingFalseWins:
    """Three trainings a round, each run by two eager processes and a third one in the place of a candidate."""

    name: str = "optimize-training-false-wins"
    title: str = "Optimizer: wins claimed for eager trainings against themselves, three programs"
    max_rounds: int | None = 20
    in_default_set: bool = False

    def measure_round(self, session: Session, index: int) -> Sample:
        """1 where a win was claimed, else 0, of each program; ``first`` before the second measurement."""
        found: dict[str, float] = {}
        for model in MODELS:
            first = claims(model, QUICK_ROUNDS, 2 * index)
            found[f"{model}_first"] = float(first)
            found[model] = float(first and claims(model, 5 if session.quick else FULL_ROUNDS, 2 * index + 1))
        return found

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the share of false wins over all rounds, and that of the first measurement alone."""
        return share_rows(samples, MODELS)


def claims(model: str, rounds: int, seed: int) -> bool:
    """Whether a win is claimed for a third eager training. Raises BenchmarkError where a process fails."""
    words = (sys.executable, "-m", MODULE, model)
    target = Target(words, model, 0, True, environment=(("OMP_NUM_THREADS", "1"),))
    with ExitStack() as stack:
        try:
            processes = [
                stack.enter_context(TrainingProcess(target, (), nudge=is_control))
                for is_control in (False, True, False)
            ]
            for each in processes:
                each.prepare(_TIMEOUT_S)
            taken = time_together(processes, rounds, seed, _TIMEOUT_S, repeats=_REPEATS)
        except CandidateError as error:
            raise BenchmarkError(str(error)) from error
    eager, control, candidate = (each.figure("throughput") for each in taken)
    found = ratio_of(eager, candidate)
    learnt = compare(Curves(*(each.losses for each in processes)), lossy=False)
    return learnt.failure is None and found.median > MIN_GAIN and is_win(found, ratio_of(eager, control))


TRAINING_FALSE_WINS = TrainingFalseWins()
