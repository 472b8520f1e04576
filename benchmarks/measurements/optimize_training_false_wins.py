"""What the optimizer claims of trainings where there is nothing to claim: eager against itself, step by step."""

from __future__ import annotations

import sys
from contextlib import ExitStack

from benchmarks.measurements.optimize_false_wins import FalseWins
from benchmarks.results import BenchmarkError
from deepseek_prof.optimizer.candidate import CandidateError, Target
from deepseek_prof.optimizer.rounds import time_together
from deepseek_prof.optimizer.timing import MIN_GAIN, is_win, ratio_of
from deepseek_prof.optimizer.training_loss import Curves, compare
from deepseek_prof.optimizer.training_measure import TrainingProcess

MODULE = "benchmarks.programs.optimize_trainings"
_REPEATS = 10
"""Steps of a round: some tens of milliseconds."""
_TIMEOUT_S = 120.0


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


TRAINING_FALSE_WINS = FalseWins(
    "optimize-training-false-wins",
    "Optimizer: wins claimed for eager trainings against themselves, three programs",
    claims,
)
