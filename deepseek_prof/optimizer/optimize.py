"""The whole of an optimization: survey, search, result. The command and the Python API are fronts of it."""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from deepseek_prof.errors import OutputError, UsageError
from deepseek_prof.narration import Narrator
from deepseek_prof.optimizer import passes
from deepseek_prof.optimizer.batch_sweep import Limits, sweep
from deepseek_prof.optimizer.candidate import CandidateError, Target
from deepseek_prof.optimizer.delivery import deliver, deliver_training, refuse_existing
from deepseek_prof.optimizer.measure import GOALS, Measurer
from deepseek_prof.optimizer.replay import saved_command
from deepseek_prof.optimizer.results import BatchResult, CandidateResult, Optimization, Status
from deepseek_prof.optimizer.search import Search
from deepseek_prof.optimizer.survey import Surveyed, survey
from deepseek_prof.optimizer.training_measure import TrainingMeasurer, plan
from deepseek_prof.recording.command import Command

if TYPE_CHECKING:
    import torch

_SURVEY_CALLS = 30
_SURVEY_STEPS = 150
_SURVEY_S = 30.0


@dataclass(frozen=True)
class OptimizeSettings:
    """What the user asked for."""

    mode: str = "auto"
    budget_s: float = 600.0
    passes: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    metric: str | None = None
    max_loss: float = 0.01
    """Largest relative loss by the metric, a fraction."""
    batch_sizes: tuple[int, ...] = ()
    """Rows of the captured call to measure throughput with."""
    max_latency_s: float = math.inf
    """Of the 99th percentile of a call with such a batch."""
    goal: str = "latency"
    apply: Path | None = None
    """Where the file that applies the winner goes."""
    force: bool = False
    """Whether files that exist are replaced."""


def optimize_program(command: Command, settings: OptimizeSettings, narrator: Narrator) -> Optimization:
    """Optimize a program. Ctrl-C ends the search; what was measured until then is in the result.

    Raises:
        UsageError: no such pass or goal, or the program has nothing to optimize.
        OutputError: ``apply`` exists already, or its folder does not. What goes wrong later is ``not_applied``.
    """
    wanted = _wanted(settings)
    if settings.goal not in GOALS:
        raise UsageError(f"No goal {settings.goal!r}. There are: {', '.join(GOALS)}.")
    if settings.apply is not None and not settings.force:
        refuse_existing(settings.apply)
    began_s = time.monotonic()
    narrator.say("recording the program as it is")
    found = survey(
        command, settings.mode, min(_SURVEY_S, settings.budget_s / 4), _SURVEY_CALLS, _SURVEY_STEPS, narrator
    )
    mode = "training" if found.training else "inference"
    measurer = _training_measurer(command, found, settings) if found.training else _measurer(command, found, settings)
    narrator.say(f"optimizing {found.root} in {mode}, call {found.call + 1} of {found.calls} seen")
    left_s = settings.budget_s - (time.monotonic() - began_s)
    search = Search(measurer, found.profile, mode, left_s, narrator.say, settings.goal)
    search.run(wanted)
    rows = sorted(search.rows.values(), key=_rank)
    batches: tuple[BatchResult, ...] = ()
    if settings.batch_sizes and search.ended_by != "interrupt":
        narrator.say("measuring batch sizes")
        # In training as the program is: of its passes, some fire in whole steps only.
        batches = _batches(measurer.target, None if found.training else search.winner(), settings)
    result = Optimization(
        command=command.argv,
        root=found.root,
        mode=mode,
        call=found.call,
        signatures=measurer.signatures,
        device=found.device,
        threads=found.threads,
        profile=str(found.run_dir),
        baseline=next((each.baseline for each in rows if each.baseline is not None), None),
        candidates=tuple(rows),
        winner=search.winner(),
        complete=search.ended_by is None,
        ended_by=search.ended_by,
        batches=batches,
        goal=settings.goal,
    )
    if settings.apply is None:
        return result
    return _handed_over(result, measurer, settings.apply, narrator)


def _measurer(command: Command, found: Surveyed, settings: OptimizeSettings) -> Measurer:
    target = Target(command.argv, found.root, found.call, found.training, settings.metric)
    recordings = found.run_dir / "candidates"
    return Measurer(target, max_loss=settings.max_loss, goal=settings.goal, recordings=recordings)


def _handed_over(
    result: Optimization, measurer: Measurer | TrainingMeasurer, path: Path, narrator: Narrator
) -> Optimization:
    """The result with its hand-over, or with why there is none: the search is not lost with it."""
    if result.winner is None:
        return replace(result, not_applied="there is no winner to apply")
    try:
        if isinstance(measurer, TrainingMeasurer):
            made = deliver_training(measurer, result.winner, result.candidates, _facts(result), path, narrator)
        else:
            made = deliver(measurer, result.winner, result.candidates, _facts(result), path, narrator)
    except (OutputError, CandidateError) as error:
        return replace(result, not_applied=str(error))
    except KeyboardInterrupt:
        return replace(result, not_applied="interrupted", complete=False, ended_by="interrupt")
    finally:
        measurer.end_eager()
    return replace(result, handover=made)


def _training_measurer(command: Command, found: Surveyed, settings: OptimizeSettings) -> TrainingMeasurer:
    hint = "--mode inference takes the calls of its modules in evaluation, where there are any."
    if not found.step_ns:
        raise UsageError(
            f"{found.root} is called in training, and no optimizer made two steps: there is no training to time. For "
            f"inference, call model.eval() first. {hint}"
        )
    if not found.backward_passes:
        raise UsageError(
            f"{found.root} is trained without a backward pass: there is no loss to hold a candidate against. {hint}"
        )
    if settings.metric is not None:
        raise UsageError("--metric is for inference: a training is held against the losses of its own steps.")
    target = Target(command.argv, found.root, found.call, found.training)
    steps = plan(found.steps, found.step_ns, settings.budget_s)
    return TrainingMeasurer(target, steps, settings.goal, recordings=found.run_dir / "candidates")


def optimize(
    model: torch.nn.Module,
    inputs: Any,
    *,
    passes: Sequence[str] | None = None,
    budget_s: float = 600.0,
    goal: str = "latency",
    apply: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Optimization:
    """Try passes on a module, each in a process of its own, and prove which make it faster.

    The module and its inputs are pickled: each process loads them. The module itself is left as it is.

    Args:
        model: the module, in evaluation for inference.
        inputs: one argument, a tuple of arguments, a dict of keyword arguments, or a list of such for several kinds.
        passes: names as of ``--passes``; None for all.
        budget_s: how long to search, in seconds.
        goal: ``latency``, ``throughput`` or ``memory``.
        apply: where a Python file that applies the winner goes, which must not exist.
        quiet: say nothing but warnings.

    Raises:
        OutputError: ``apply`` exists already, or its folder does not. What goes wrong later is ``not_applied``.
        UsageError: the module cannot be pickled so that another process can load it, or no such pass.
    """
    import tempfile

    import torch

    with tempfile.TemporaryDirectory(prefix="deepseek-prof-") as folder:
        path = Path(folder, "model.pt")
        if type(model).__module__ == "__main__":
            raise UsageError(
                f"{type(model).__qualname__} is defined in the program that runs, where no other process finds it. "
                "Move it into a module, or use: deepseek-prof optimize PROGRAM"
            )
        try:
            torch.save((model, inputs), path)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(f"The model cannot be pickled: {error}. Use: deepseek-prof optimize PROGRAM") from error
        settings = OptimizeSettings(
            passes=None if passes is None else tuple(passes),
            budget_s=budget_s,
            goal=goal,
            apply=None if apply is None else Path(apply),
        )
        return optimize_program(saved_command(str(path)), settings, Narrator(quiet=quiet))


def _batches(target: Target, winner: CandidateResult | None, settings: OptimizeSettings) -> tuple[BatchResult, ...]:
    applied = [] if winner is None else list(zip(winner.passes, winner.options, strict=True))
    try:
        return sweep(target, applied, settings.batch_sizes, Limits(latency_s=settings.max_latency_s))
    except CandidateError as error:  # the proof of the passes stands
        return tuple(BatchResult(rows, "failed", str(error)) for rows in sorted(set(settings.batch_sizes)))


def _facts(result: Optimization) -> tuple[str, ...]:
    """For the head of the file that applies the winner."""
    winner = result.winner
    assert winner is not None
    assert winner.interval is not None
    low, high = winner.interval
    of_what = "the memory of eager over that of" if result.goal == "memory" else "the time of eager over that of"
    return (
        f"Measured on {result.root}, {result.device}, {result.threads} threads, goal {result.goal}:",
        f"{of_what} {winner.label} is {winner.speedup:.2f}, 95 % interval {low:.2f} to {high:.2f}.",
        *(f"Inputs: {each}" for each in result.signatures),
    )


def _wanted(settings: OptimizeSettings) -> Sequence[str]:
    names = passes.names() if settings.passes is None else tuple(passes.resolve(each) for each in settings.passes)
    without = {passes.resolve(each) for each in settings.without}
    return tuple(dict.fromkeys(each for each in names if each not in without))


def _rank(row: CandidateResult) -> tuple[int, float]:
    return get_args(Status).index(row.status), -(row.speedup or 0.0)
