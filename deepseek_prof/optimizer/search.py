"""Which combinations of passes are tried, in which order, and which of them is claimed to win."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from deepseek_prof.optimizer import passes
from deepseek_prof.optimizer.protocol import Profile
from deepseek_prof.optimizer.results import UNUSABLE, CandidateResult
from deepseek_prof.optimizer.timing import MIN_GAIN

Combination = tuple[tuple[str, Any], ...]
"""Names of passes and their configs."""

QUICK_ROUNDS = 8
FULL_ROUNDS = 30
_FINALISTS = 3
_AGAIN = 2.0
"""The second measurement takes about this much longer than the first: more rounds, and new eager processes. Time for
that of the longest is kept back of the budget."""
_WORTH_ADDING = 1.01
_SAVE_MEMORY = ("checkpoint", "accumulate", "quantize", "amp")
"""Tried first where memory is the goal: predictions are of time, and of these checkpoints would come last."""
_ALMOST = 0.97
"""A pass that alone changes nothing may help another one: layouts and folding do. What is surely slower does not."""


class Measures(Protocol):
    """Measures candidates: of a captured call, or of training steps."""

    def measure(self, row: CandidateResult, rounds: int, left_s: float, *, explain: bool = False) -> CandidateResult:
        """The row filled in; ``explain``: with what changed by operator. Raises CandidateError without eager."""

    def end_eager(self) -> None:
        """Let go of what is kept between candidates."""


@dataclass
class Search:
    """Every row so far; ``run`` adds to them, and what is interrupted keeps them."""

    measurer: Measures
    profile: Profile
    mode: str
    budget_s: float
    narrate: Callable[[str], None]
    goal: str = "latency"
    rows: dict[tuple[str, ...], CandidateResult] = field(default_factory=dict)
    ended_by: str | None = None

    def __post_init__(self) -> None:
        self._deadline_s = time.monotonic() + self.budget_s
        self._longest_s = 0.0
        self._took_s: dict[tuple[str, ...], float] = {}

    def run(self, names: Sequence[str]) -> None:
        """Single passes by predicted gain, greedy combinations of those that help, then the finalists in full."""
        try:
            self._within_budget(lambda: self._explore(names))
            self._within_budget(self._confirm)
        except KeyboardInterrupt:
            self.ended_by = "interrupt"
        finally:
            self.measurer.end_eager()
        for key, row in self.rows.items():
            if row.status == "win" and not row.confirmed:
                self.rows[key] = replace(row, status="inconclusive", reason="measured once only, which is not enough")

    def _within_budget(self, work: Callable[[], None]) -> None:
        try:
            work()
        except _OutOfBudgetError:
            self.ended_by = "budget"

    def _explore(self, names: Sequence[str]) -> None:
        """Every pass alone, and at once with the best so far: what the budget cuts off is the least promising.

        The most promising one that applies is measured in any case: a result without any figure says nothing.
        """
        best: Combination = ()
        speedup = 1.0
        singles = self._singles(names)
        for place, single in enumerate(singles):
            nothing = all(row.status == "refused" for row in self.rows.values())
            try:
                alone = self._try(single, QUICK_ROUNDS, late=nothing)
            except _OutOfBudgetError:
                left = dict.fromkeys(name for combination in singles[place:] for name, _ in combination)
                self.narrate(f"the budget is used up; not tried, or not with all options: {', '.join(left)}")
                raise
            if alone.status in UNUSABLE or alone.interval is None or alone.interval[1] < _ALMOST:
                continue
            tried = [(single, alone)]
            both = (*best, *single)
            if best and passes.combine([name for name, _ in both]):
                tried.append((both, self._try(both, QUICK_ROUNDS)))
            for combination, row in tried:
                if row.status not in UNUSABLE and (row.speedup or 0) > speedup * _WORTH_ADDING:
                    best, speedup = combination, row.speedup or 0

    def winner(self) -> CandidateResult | None:
        """The fastest of the confirmed wins."""
        wins = [row for row in self.rows.values() if row.status == "win" and row.confirmed]
        return max(wins, key=lambda row: row.speedup or 0, default=None)

    def _singles(self, names: Sequence[str]) -> list[Combination]:
        found: list[tuple[float, Combination]] = []
        for name in names:
            handler = passes.handler(name)
            if self.mode in handler.modes:
                found += [
                    (handler.predicted_gain(config, self.profile), ((name, config),)) for config in handler.configs()
                ]
        first = _SAVE_MEMORY if self.goal == "memory" else ()
        found.sort(key=lambda each: (first.index(each[1][0][0]) if each[1][0][0] in first else len(first), -each[0]))
        return [combination for _, combination in found]

    def _predicted(self, combination: Combination) -> float:
        predicted = 1.0
        for name, config in combination:
            predicted *= passes.handler(name).predicted_gain(config, self.profile)
        return predicted

    def _try(
        self, combination: Combination, rounds: int, *, again_s: float | None = None, late: bool = False
    ) -> CandidateResult:
        """Measure a combination, a second time where ``again_s`` says how long that should take.

        Raises:
            _OutOfBudgetError: there is no time for it, or for a first measurement and its second; not where it may be
                ``late``.
        """
        began_s = time.monotonic()
        left_s = self._deadline_s - began_s
        needed_s = (1 + _AGAIN) * self._longest_s if again_s is None else again_s
        if not late and (left_s <= 0 or left_s < needed_s):
            raise _OutOfBudgetError
        combination = tuple(sorted(combination, key=lambda each: passes.handler(each[0]).order))
        row = CandidateResult(
            passes=tuple(name for name, _ in combination),
            options=tuple(passes.options_of(config) for _, config in combination),
            status="failed",
            reason=None,
            predicted=self._predicted(combination),
        )
        allowed_s = left_s / (1 + _AGAIN) if again_s is None else max(left_s, again_s)
        row = self.measurer.measure(row, rounds, allowed_s, explain=again_s is not None)
        took_s = time.monotonic() - began_s
        if again_s is None:
            if row.status != "failed":  # what was cut off says nothing about the others
                self._longest_s = max(self._longest_s, took_s)
            self._took_s[_key(combination)] = took_s
        self.rows[_key(combination)] = row
        shown = f"{row.speedup:.2f} × " if row.speedup is not None else ""
        self.narrate(f"{row.label}: {shown}{row.status}{f' ({row.reason})' if row.reason else ''}")
        return row

    def _confirm(self) -> None:
        """Measure the fastest anew in fresh processes, with more rounds: only such a row can be the winner."""
        ranked = sorted(
            (key for key, row in self.rows.items() if row.status in ("win", "inconclusive") and _is_promising(row)),
            key=lambda key: -(self.rows[key].speedup or 0),
        )
        for place, key in enumerate(ranked[:_FINALISTS]):
            row = self.rows[key]
            pairs = zip(row.passes, row.options, strict=True)
            first_was_win = row.status == "win"
            self.measurer.end_eager()
            # Nothing is claimed without it: the first may be late, by one candidate.
            again = self._try(
                tuple((name, passes.config_from(name, options)) for name, options in pairs),
                FULL_ROUNDS,
                again_s=_AGAIN * self._took_s[key],
                late=place == 0,
            )
            if again.speedup is None:
                continue
            if again.status == "win" and not first_was_win and again.interval and again.interval[0] < 1.05:
                # Seen once only, and small: the placement of a process in memory can do as much.
                again = replace(again, status="inconclusive", reason="not seen in the first measurement")
            self.rows[key] = replace(again, confirmed=True)


def _is_promising(row: CandidateResult) -> bool:
    return row.interval is not None and row.interval[1] > MIN_GAIN and (row.speedup or 0) > MIN_GAIN


class _OutOfBudgetError(Exception):
    """The time for the search is used up."""


def _key(combination: Combination) -> tuple[str, ...]:
    return tuple(f"{name} {passes.options_of(config)}" for name, config in combination)
