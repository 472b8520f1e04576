"""Measures one candidate: its process beside two eager ones, in the same rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepseek_prof.errors import OutputError, RunDamagedError
from deepseek_prof.optimizer.candidate import Candidate, CandidateError, Target, prepared
from deepseek_prof.optimizer.comparison import compare
from deepseek_prof.optimizer.results import CandidateResult, OperatorChange
from deepseek_prof.optimizer.rounds import figures, time_together
from deepseek_prof.optimizer.timing import MIN_GAIN, MIN_MEMORY_GAIN, Ratio, is_loss, is_win, ratio_of

GOALS = ("latency", "throughput", "memory")
PROFILED_REPEATS = 3
"""Of all captured calls, or steps of a training, that are profiled for what changed by operator."""
_SHOWN_OPERATORS = 20
_LEAST_S = 10.0
"""What a process gets in any case: what was begun is not failed for want of seconds."""


class Limit:
    """How long a measurement may take: ``left_s`` in all from now on, ``prepare_s`` for a process to prepare."""

    def __init__(self, prepare_s: float, left_s: float) -> None:
        self._prepare_s = prepare_s
        self._deadline_s = time.monotonic() + left_s

    def left_s(self) -> float:
        """Until the deadline."""
        return self._deadline_s - time.monotonic()

    def process_s(self) -> float:
        """For the next process."""
        return max(min(self._prepare_s, self.left_s()), _LEAST_S)


@dataclass
class Measurer:
    """Runs the processes of one target; call ``end_eager`` when done.

    ``prepare_s`` is how long a candidate may compile, ``max_loss`` a fraction.
    """

    target: Target
    prepare_s: float = 300.0
    max_loss: float = 0.01
    goal: str = "latency"
    recordings: Path | None = None
    """Folder of the recordings of candidates that are explained; None: they are not recorded."""
    seed: int = 0
    signatures: tuple[str, ...] = ()
    model_bytes: int | None = None
    """Of eager."""
    _eager: list[Candidate] = field(default_factory=list)

    def measure(self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False) -> CandidateResult:
        """Fill in the row. A candidate that crashes, hangs or runs out of memory is ``failed``, with its reason.

        It takes ``left_s`` at most, and the least number of rounds. ``explain``: with what changed by operator.

        Raises:
            CandidateError: eager itself does not run.
        """
        limit = Limit(self.prepare_s, left_s)
        self.seed += 1
        with ExitStack() as stack:
            wanted = list(zip(row.passes, row.options, strict=True))
            try:
                candidate, answer = prepared(self.target, wanted, limit.process_s())
                stack.enter_context(candidate)
            except CandidateError as error:
                return replace(row, status="failed", reason=str(error))
            if answer["status"] == "refused":
                return replace(row, status="refused", reason=str(answer["reason"]))
            self.signatures = candidate.signatures
            row = _with_answer(row, answer)
            self._start_eager(limit.process_s)
            try:
                row = self._timed(row, candidate, answer, rounds, limit.left_s())
                return self._explained(row, candidate) if explain else row
            except CandidateError as error:
                self.end_eager()  # which of the three ended is not known
                return replace(row, status="failed", reason=str(error))

    def beside_eager(self, processes: Sequence[Candidate], rounds: int) -> list[Ratio]:
        """The goal's ratio of each prepared process against eager, in shared rounds. Raises CandidateError."""
        self._start_eager(lambda: self.prepare_s)
        taken = time_together([*self._eager, *processes], rounds, self.seed, self.prepare_s)
        eager, _, *others = (each.figure(self.goal) for each in taken)
        return [ratio_of(eager, each) for each in others]

    def _explained(self, row: CandidateResult, candidate: Candidate) -> CandidateResult:
        """With what changed. What was measured stays, whatever happens to that."""
        try:
            row = replace(row, operators=changes(self._eager[0], candidate, self.prepare_s))
            if self.recordings is not None and row.baseline is not None:
                folder = self.recordings / str(self.seed)
                call_ns = row.baseline.median_ns * len(self.signatures)
                found = compare(self._eager[0], candidate, folder, call_ns, self.prepare_s, self.target.root)
                row = replace(row, comparison=found)
        except (CandidateError, OutputError, RunDamagedError) as error:
            self.end_eager()  # which of the processes ended is not known
            return replace(row, notes=(*row.notes, f"what changed is not known: {error}"))
        return row

    def _start_eager(self, limit_s: Callable[[], float]) -> None:
        """Two eager processes, which stay for the next candidates."""
        while len(self._eager) < 2:
            process, told = prepared(self.target, (), limit_s())
            self._eager.append(process)
            self.model_bytes = told["model_bytes"]

    def end_eager(self) -> None:
        """End the eager processes; the next candidate is measured beside new ones."""
        while self._eager:
            self._eager.pop().close()

    def _timed(
        self,
        row: CandidateResult,
        candidate: Candidate,
        answer: dict[str, Any],
        rounds: int,
        left_s: float,
    ) -> CandidateResult:
        taken = time_together([*self._eager, candidate], rounds, self.seed, self.prepare_s, left_s)
        samples = [each.samples for each in taken]
        eager, again, changed = (each.figure(self.goal) for each in taken)
        speedup, control = ratio_of(eager, changed), ratio_of(eager, again)
        before = figures(samples[0], taken[0].peak_bytes, self.model_bytes)
        after = figures(samples[2], taken[2].peak_bytes, answer["model_bytes"])
        saved_ns = before.median_ns - after.median_ns
        row = replace(
            row,
            speedup=speedup.median,
            interval=(speedup.low, speedup.high),
            control=(control.low, control.high),
            break_even_calls=math.ceil(answer["compile_ns"] / saved_ns) if saved_ns > 0 else None,
            figures=after,
            baseline=before,
        )
        return self._judged(row, answer, speedup, control)

    def _judged(self, row: CandidateResult, answer: dict[str, Any], speedup: Ratio, control: Ratio) -> CandidateResult:
        if answer["metric"] is not None:
            inaccurate = _by_metric(answer["metric"], row.loss, self.max_loss)
        else:
            inaccurate = answer["inaccurate"]
        if inaccurate is not None:
            return replace(row, status="inaccurate", reason=inaccurate)
        return with_verdict(row, speedup, control, self.goal)


def with_verdict(row: CandidateResult, speedup: Ratio, control: Ratio, goal: str = "latency") -> CandidateResult:
    """An accurate row with what its figures say."""
    if is_win(speedup, control, MIN_MEMORY_GAIN if goal == "memory" else MIN_GAIN):
        return replace(row, status="win", reason=None)
    if is_loss(speedup, control):
        worse = "more memory" if goal == "memory" else "slower"
        return replace(row, status="slower", reason=f"{worse} than eager")
    return replace(
        row, status="inconclusive", reason=f"no more than two eager processes differ by ({control.spread:.2f} ×)"
    )


def changes(eager: Candidate, candidate: Candidate, timeout_s: float) -> tuple[OperatorChange, ...]:
    """The operators that changed most between two prepared processes. Raises CandidateError."""
    message = {"do": "operators", "repeats": PROFILED_REPEATS}
    before, after = (process.ask(message, timeout_s)["operators"] for process in (eager, candidate))
    found = []
    for name in before.keys() | after.keys():
        (before_ns, before_count), (after_ns, after_count) = (each.get(name, (0.0, 0.0)) for each in (before, after))
        found.append(OperatorChange(name, before_ns, after_ns, before_count, after_count))
    found.sort(key=lambda each: (-abs(each.after_ns - each.before_ns), each.name))
    return tuple(found[:_SHOWN_OPERATORS])


def _with_answer(row: CandidateResult, answer: dict[str, Any]) -> CandidateResult:
    metric, numerics = answer["metric"], answer["numerics"]
    loss: float | None = None
    if metric is not None:
        loss = (metric[0] - metric[1]) / abs(metric[0]) if metric[0] else float(metric[0] - metric[1])
        loss = loss if math.isfinite(loss) else None
    elif numerics["top1"] is not None:
        loss = 1 - numerics["top1"]
    return replace(
        row,
        loss=loss,
        lossy=answer["lossy"],
        numerics=numerics,
        compile_ns=answer["compile_ns"],
        fired=tuple(answer["fired"]),
        notes=tuple(answer["notes"]),
        kept_in_float=tuple(answer["kept_in_float"]),
        code=tuple(answer["code"]),
        compiles=bool(answer["compiles"]),
    )


def _by_metric(metric: Sequence[float], loss: float | None, max_loss: float) -> str | None:
    """Why the user's metric speaks against a candidate, or None."""
    if loss is None:
        return f"the metric gave {metric[1]} for it and {metric[0]} for eager"
    return f"loses {loss:.2%} by the metric" if loss > max_loss else None
