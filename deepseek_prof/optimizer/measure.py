"""Measures one candidate: its process beside two eager ones, in the same rounds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from deepseek_prof.analysis.bootstrap import MIN_STEPS
from deepseek_prof.optimizer.candidate import Candidate, CandidateError, Target, prepared
from deepseek_prof.optimizer.results import CandidateResult, Figures, OperatorChange
from deepseek_prof.optimizer.timing import Ratio, Samples, interleave, is_loss, is_win, ratio

ROUND_NS = 60_000_000
"""A round of one process lasts about this long, so that the clock and the turn cost nothing beside it."""
_MAX_REPEATS = 1_000
_PROFILED_REPEATS = 3
_SHOWN_OPERATORS = 20


@dataclass
class Measurer:
    """Runs the processes of one target; call ``end_eager`` when done.

    ``prepare_s`` is how long a candidate may compile, ``max_loss`` a fraction.
    """

    target: Target
    prepare_s: float = 300.0
    max_loss: float = 0.01
    seed: int = 0
    signatures: tuple[str, ...] = ()
    model_bytes: int | None = None
    """Of eager."""
    _eager: list[Candidate] = field(default_factory=list)

    def measure(self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False) -> CandidateResult:
        """Fill in the row. A candidate that crashes, hangs or runs out of memory is ``failed``, with its reason.

        ``explain``: with what changed by operator.

        Raises:
            CandidateError: eager itself does not run.
        """
        limit_s = max(min(self.prepare_s, left_s), 10.0)
        self.seed += 1
        with ExitStack() as stack:
            wanted = list(zip(row.passes, row.options, strict=True))
            try:
                candidate, answer = prepared(self.target, wanted, limit_s)
                stack.enter_context(candidate)
            except CandidateError as error:
                return replace(row, status="failed", reason=str(error))
            if answer["status"] == "refused":
                return replace(row, status="refused", reason=str(answer["reason"]))
            self.signatures = candidate.signatures
            row = _with_answer(row, answer)
            self._start_eager(limit_s)
            try:
                row = self._timed(row, candidate, answer, rounds, left_s)
                return replace(row, operators=changes(self._eager[0], candidate, self.prepare_s)) if explain else row
            except CandidateError as error:
                self.end_eager()  # which of the three ended is not known
                return replace(row, status="failed", reason=str(error))

    def _start_eager(self, limit_s: float) -> None:
        """Two eager processes, which stay for the next candidates."""
        while len(self._eager) < 2:
            process, told = prepared(self.target, (), limit_s)
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
        speedup, control = ratio(samples[0], samples[2]), ratio(samples[0], samples[1])
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
        if answer["metric"] is not None and row.loss is not None:
            inaccurate = f"loses {row.loss:.2%} by the metric" if row.loss > self.max_loss else None
        else:
            inaccurate = answer["inaccurate"]
        if inaccurate is not None:
            return replace(row, status="inaccurate", reason=inaccurate)
        return with_verdict(row, speedup, control)


def with_verdict(row: CandidateResult, speedup: Ratio, control: Ratio) -> CandidateResult:
    """An accurate row with what its times say."""
    if is_win(speedup, control):
        return replace(row, status="win", reason=None)
    if is_loss(speedup, control):
        return replace(row, status="slower", reason="slower than eager")
    return replace(
        row, status="inconclusive", reason=f"no more than two eager processes differ by ({control.spread:.2f} ×)"
    )


def changes(eager: Candidate, candidate: Candidate, timeout_s: float) -> tuple[OperatorChange, ...]:
    """The operators that changed most between two prepared processes. Raises CandidateError."""
    message = {"do": "operators", "repeats": _PROFILED_REPEATS}
    before, after = (process.ask(message, timeout_s)["operators"] for process in (eager, candidate))
    found = []
    for name in before.keys() | after.keys():
        (before_ns, before_count), (after_ns, after_count) = (each.get(name, (0.0, 0.0)) for each in (before, after))
        found.append(OperatorChange(name, before_ns, after_ns, before_count, after_count))
    found.sort(key=lambda each: (-abs(each.after_ns - each.before_ns), each.name))
    return tuple(found[:_SHOWN_OPERATORS])


@dataclass(frozen=True)
class Taken:
    """What one process did over all rounds."""

    samples: Samples
    peak_bytes: int


def time_together(
    processes: Sequence[Candidate],
    rounds: int,
    seed: int,
    timeout_s: float,
    left_s: float = math.inf,
    repeats: int | None = None,
) -> list[Taken]:
    """Time prepared processes in shuffled rounds; ends early when ``left_s`` is over, after the least number of rounds.

    ``repeats``: of all captured calls in a round; None: as many as make a round long enough for the clock.

    Raises:
        CandidateError: a process ended, or did not answer within ``timeout_s``.
    """
    peaks = [0] * len(processes)
    repeats = _repeats(processes[0], timeout_s) if repeats is None else repeats
    deadline_s = time.monotonic() + left_s
    done = 0

    def timer(index: int) -> Callable[[], list[int]]:
        def take() -> list[int]:
            told = processes[index].ask({"do": "round", "repeats": repeats}, timeout_s)
            peaks[index] = max(peaks[index], told["peak_bytes"])
            return list(told["calls_ns"])

        return take

    def go_on() -> bool:
        nonlocal done
        done += 1
        return done < MIN_STEPS or time.monotonic() < deadline_s

    samples = interleave(
        [timer(index) for index in range(len(processes))], rounds, seed, go_on, len(processes[0].signatures)
    )
    return [Taken(*each) for each in zip(samples, peaks, strict=True)]


def figures(samples: Samples, peak_bytes: int, model_bytes: int | None) -> Figures:
    """Figures of one process over its rounds."""
    calls = sorted(samples.calls_ns())
    return Figures(
        median_ns=statistics.median(calls),
        p99_ns=calls[min(len(calls) - 1, math.ceil(0.99 * len(calls)) - 1)],
        calls=len(calls),
        calls_per_s=1e9 * len(calls) / sum(calls),
        peak_bytes=peak_bytes,
        model_bytes=model_bytes,
    )


def _with_answer(row: CandidateResult, answer: dict[str, Any]) -> CandidateResult:
    metric, numerics = answer["metric"], answer["numerics"]
    loss: float | None = None
    if metric is not None:
        loss = (metric[0] - metric[1]) / abs(metric[0]) if metric[0] else float(metric[0] - metric[1])
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
    )


def _repeats(candidate: Candidate, timeout_s: float) -> int:
    told = candidate.ask({"do": "round", "repeats": 1}, timeout_s)
    return max(1, min(_MAX_REPEATS, ROUND_NS // max(int(sum(told["calls_ns"])), 1)))
