"""Measures one candidate of a training program: three runs of it in turns, eager, eager and with the passes."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepseek_prof.analysis.bootstrap import MIN_STEPS
from deepseek_prof.errors import OutputError, RunDamagedError, UsageError
from deepseek_prof.optimizer.candidate import Candidate, CandidateError, Target
from deepseek_prof.optimizer.comparison import compare_runs, recording
from deepseek_prof.optimizer.measure import PROFILED_REPEATS, Limit, changes, with_verdict
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.rounds import ROUND_NS, Taken, figures, time_together
from deepseek_prof.optimizer.search import FULL_ROUNDS
from deepseek_prof.optimizer.timing import ratio_of
from deepseek_prof.optimizer.training_loss import Curves, compare

ATTACH = "deepseek_prof.optimizer.training"
WARM_STEPS = 3
RECORDED_STEPS = 8
"""No more than the least that a program has after its first: it is run anew to be recorded."""
_RECORDED = (WARM_STEPS, WARM_STEPS + RECORDED_STEPS - 1)
_BURSTS = 2
_PART_OF_BUDGET = 0.1
"""Of the budget: the steps of one measurement in full."""


@dataclass(frozen=True)
class Plan:
    """How many steps of the program are timed: ``steps`` at most in each process, ``repeats`` or more in a round."""

    steps: int
    repeats: int

    def rounds(self, wanted: int, workers: int) -> tuple[int, int]:
        """Rounds, and steps of each. Workers bring as many batches at once as they are: a round holds some of these."""
        repeats = max(self.repeats, _BURSTS * workers)
        return min(wanted, self.steps // repeats), repeats


def plan(steps: int, step_ns: float, budget_s: float) -> Plan:
    """The steps of a measurement in full, of a program whose first run made ``steps`` of ``step_ns`` each.

    Raises:
        UsageError: too few for a verdict.
    """
    available = steps - WARM_STEPS - PROFILED_REPEATS
    if available < MIN_STEPS:
        raise UsageError(
            f"The program made {steps} training steps in the time of the first run, and a verdict needs at least "
            f"{MIN_STEPS + WARM_STEPS + PROFILED_REPEATS}. Let it train longer, or give a larger --budget."
        )
    affordable = int(_PART_OF_BUDGET * budget_s * 1e9 / (3 * step_ns))
    usable = max(min(available, affordable), MIN_STEPS)
    return Plan(usable, max(1, min(math.ceil(ROUND_NS / step_ns), usable // FULL_ROUNDS)))


class TrainingProcess(Candidate):
    """A run of the program that stands still, with its workers, whenever it is not asked for steps."""

    def __init__(
        self,
        target: Target,
        passes: Sequence[tuple[str, dict[str, Any]]],
        *,
        nudge: bool = False,
        file: dict[str, Any] | None = None,
        live: Path | None = None,
    ) -> None:
        """``file``: what applies the passes in their place, as ``training_file.AppliedFile``.

        ``live``: where the steps after the first ones are recorded. Such a process can only be prepared.
        """
        warm = WARM_STEPS if live is None else WARM_STEPS + RECORDED_STEPS
        recorded = {"live": None if live is None else str(live), "recorded": _RECORDED}
        job = {"passes": list(passes), "warm": warm, "nudge": nudge, "file": file, **recorded}
        super().__init__(target, ATTACH, job)
        self.losses: list[list[float]] = []

    def prepare(self, timeout_s: float) -> dict[str, Any]:
        """Let the program begin, with its first steps. Raises CandidateError."""
        self.reach(timeout_s)
        return self.ask({"do": "prepare"}, timeout_s)

    def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """As of a candidate; its workers load nothing in the turns of others, which they would disturb."""
        self._signal(signal.SIGCONT)
        told = super().ask(message, timeout_s)
        self.losses += told.get("losses", [])
        self._signal(signal.SIGSTOP)
        return told

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it ended: the next answer says so
            os.killpg(self._process.pid, number)


@dataclass
class TrainingMeasurer:
    """Runs the processes of one program. Every candidate is measured beside two new runs of eager, step by step."""

    target: Target
    plan: Plan
    goal: str = "latency"
    prepare_s: float = 300.0
    recordings: Path | None = None
    """Folder of the recordings of candidates that are explained; None: they are not recorded."""
    seed: int = 0
    signatures: tuple[str, ...] = ()

    def measure(self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False) -> CandidateResult:
        """Fill in the row. A candidate that crashes, hangs or runs out of memory is ``failed``, with its reason.

        Raises:
            CandidateError: eager itself does not run.
        """
        process = TrainingProcess(self.target, list(zip(row.passes, row.options, strict=True)))
        row = self._measured(process, row, rounds, left_s, explain=explain)
        return self._compared(row) if explain and self.recordings is not None and row.figures is not None else row

    def measure_file(self, path: Path, row: CandidateResult, rounds: int) -> CandidateResult:
        """The row as it is with the file that was made of it in place of its passes. Raises as ``measure``."""
        file = {"path": str(path), "lossy": row.lossy}
        return self._measured(TrainingProcess(self.target, (), file=file), row, rounds, math.inf, explain=False)

    def _measured(
        self, candidate: TrainingProcess, row: CandidateResult, rounds: int, left_s: float, *, explain: bool
    ) -> CandidateResult:
        limit = Limit(self.prepare_s, left_s)
        self.seed += 1
        with ExitStack() as stack:
            stack.enter_context(candidate)
            try:
                answer = candidate.prepare(limit.process_s())
            except CandidateError as error:
                return replace(row, status="failed", reason=str(error))
            if answer["status"] == "refused":
                return replace(row, status="refused", reason=str(answer["reason"]))
            self.signatures = candidate.signatures
            eager = stack.enter_context(TrainingProcess(self.target, ()))
            told = eager.prepare(limit.process_s())
            control = stack.enter_context(TrainingProcess(self.target, (), nudge=True))
            control.prepare(limit.process_s())
            workers = max(answer["workers"], told["workers"])
            rounds, repeats = self.plan.rounds(rounds, workers)
            if rounds < MIN_STEPS:
                reason = f"{workers} workers bring batches in bursts, for which the program makes too few steps"
                return replace(row, status="refused", reason=reason)
            try:
                together = [eager, control, candidate]
                taken = time_together(together, rounds, self.seed, self.prepare_s, limit.left_s(), repeats)
                row = _with_times(row, taken, told, answer)
                row = _judged(
                    row, taken, Curves(eager.losses, control.losses, candidate.losses), answer["lossy"], self.goal
                )
                return replace(row, operators=changes(eager, candidate, self.prepare_s)) if explain else row
            except CandidateError as error:
                return replace(row, status="failed", reason=str(error))

    def _compared(self, row: CandidateResult) -> CandidateResult:
        """With what changed by layer and operator. What was measured stays, whatever happens to that."""
        assert self.recordings is not None
        folder = self.recordings / str(self.seed)
        before, after = folder / "eager", folder / "changed"
        try:
            self._record(before, ())
            self._record(after, list(zip(row.passes, row.options, strict=True)))
            return replace(row, comparison=compare_runs(before, after, self.target.root))
        except (CandidateError, OutputError, RunDamagedError) as error:
            return replace(row, notes=(*row.notes, f"what changed by layer is not known: {error}"))

    def _record(self, path: Path, passes: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """A run of the program with these passes, recorded. Raises CandidateError, OutputError."""
        with (
            recording(self.target.argv, path, _RECORDED) as live,
            TrainingProcess(self.target, passes, live=live) as process,
        ):
            told = process.prepare(self.prepare_s)
            if told["status"] == "refused":
                raise CandidateError(str(told["reason"]))

    def end_eager(self) -> None:
        """Nothing is kept between candidates: the steps of a program pass."""


def _with_times(
    row: CandidateResult, taken: Sequence[Taken], eager: dict[str, Any], candidate: dict[str, Any]
) -> CandidateResult:
    before = figures(taken[0].samples, taken[0].peak_bytes, eager["model_bytes"])
    after = figures(taken[2].samples, taken[2].peak_bytes, candidate["model_bytes"])
    saved_ns = before.median_ns - after.median_ns
    later_ns = candidate["warm_ns"] - eager["warm_ns"]
    compile_ns = later_ns if later_ns > 0 else None
    return replace(
        row,
        fired=tuple(candidate["fired"]),
        code=tuple(candidate["code"]),
        compiles=bool(candidate["compiles"]),
        notes=tuple(candidate["notes"]),
        compile_ns=compile_ns,
        break_even_calls=math.ceil(compile_ns / saved_ns) if compile_ns and saved_ns > 0 else None,
        figures=after,
        baseline=before,
    )


def _figure(taken: Taken, goal: str) -> Sequence[float]:
    """Of each round, what the goal wants small: a median of steps would not see the one that waits for all batches."""
    return taken.figure("memory" if goal == "memory" else "throughput")


def _judged(row: CandidateResult, taken: Sequence[Taken], curves: Curves, lossy: bool, goal: str) -> CandidateResult:
    eager, again, candidate = (_figure(each, goal) for each in taken)
    speedup, control = ratio_of(eager, candidate), ratio_of(eager, again)
    found = compare(curves, lossy=lossy)
    row = replace(
        row,
        speedup=speedup.median,
        interval=(speedup.low, speedup.high),
        control=(control.low, control.high),
        lossy=not found.within_noise,
        numerics=found.as_json(),
        notes=(*row.notes, *found.notes),
    )
    if found.failure is not None:
        return replace(row, status="inaccurate", reason=found.failure)
    return with_verdict(row, speedup, control, goal)
