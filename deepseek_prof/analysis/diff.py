"""Two runs side by side: the time of a step by layer, operator, type, phase or context, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepseek_prof.analysis.bootstrap import CONFIDENCE, MIN_STEPS, STATISTICS, Matrix, differences
from deepseek_prof.analysis.per_step import BY, StepSamples, step_samples
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

MIN_CHANGE = 0.05
"""Two recordings of one program differ by some percent in places, however little their own steps vary."""
DEFAULT_LIMIT = 20

__all__ = ["BY", "CONFIDENCE", "DEFAULT_LIMIT", "MIN_CHANGE", "STATISTICS", "DiffRow", "DiffTable", "diff"]


@dataclass(frozen=True)
class DiffRow:
    """One entry of both runs. Times are nanoseconds a step of one rank; of the whole recording without steps."""

    row: str
    """``entry``; ``total``: all selected spans; ``step``: the length of the step itself."""
    name: str
    type: str
    """The operator type, where the entry is an operator; else empty."""
    verdict: str
    """``slower``, ``faster``, ``inconclusive``, ``added``, ``removed``; ``unknown`` with no or too few steps."""
    before_ns: float | None
    """None: the first run does not know the entry."""
    after_ns: float | None
    delta_ns: float
    ratio: float | None
    """``after_ns / before_ns``; None where either is missing or nothing was there before."""
    low_ns: float | None
    """Ends of the 95 % interval of ``delta_ns``; None where there is no such interval."""
    high_ns: float | None
    before_calls: float | None
    """Spans a step; for layers calls in forward; for ``step`` None."""
    after_calls: float | None
    before_steps: int
    """Steps that the figures are taken over; 0: the run has none, and the figures are of its whole recording."""
    after_steps: int


@dataclass(frozen=True)
class DiffTable:
    """The ``limit`` entries that changed most, the total, and the step."""

    by: str
    statistic: str
    min_change: float
    rows: tuple[DiffRow, ...]
    groups: int
    """Entries of which either run holds time."""
    changed: int
    """Of them, those whose verdict is slower, faster, added or removed."""
    judged: int
    """Of them, those compared by interval: about one in twenty would differ by chance, were nothing changed."""
    total: DiffRow
    step: DiffRow | None
    """None where a run has no steps."""
    before_warmup: int
    after_warmup: int
    """Leading steps left out."""
    notes: tuple[str, ...]


def diff(
    before: Run,
    after: Run,
    by: str = "layer",
    condition: Condition | None = None,
    *,
    limit: int | None = DEFAULT_LIMIT,
    statistic: str = "mean",
    min_change: float = MIN_CHANGE,
    device: bool = False,
    changed_only: bool = False,
) -> DiffTable:
    """Compare the steady steps of two runs, entry by entry; the largest changes come first.

    An entry is slower or faster where the 95 % interval of the difference (bootstrap over steps) does not contain zero
    and the difference is at least ``min_change`` of what it was. ``device`` compares the time of accelerators.

    Raises:
        UsageError: ``by`` or ``statistic`` is unknown, or ``limit`` or ``min_change`` is negative.
        RunDamagedError: a file of a run is damaged.
    """
    if by not in BY:
        raise UsageError(f"Cannot compare by {by!r}: choose one of {', '.join(BY)}.")
    if statistic not in STATISTICS:
        raise UsageError(f"Cannot compare {statistic!r}: choose one of {', '.join(STATISTICS)}.")
    if (limit is not None and limit < 0) or min_change < 0:
        raise UsageError("The limit and the least change must not be negative.")
    a, b = (step_samples(run, by, condition, device=device) for run in (before, after))
    return compare_samples(a, b, by, limit=limit, statistic=statistic, min_change=min_change, changed_only=changed_only)


def compare_samples(
    a: StepSamples,
    b: StepSamples,
    by: str,
    *,
    limit: int | None = None,
    statistic: str = "mean",
    min_change: float = MIN_CHANGE,
    changed_only: bool = False,
) -> DiffTable:
    """:func:`diff` of what was read; ``by`` is only said again."""
    compared = a.has_steps == b.has_steps
    names = list(dict.fromkeys((*a.entries, *b.entries)))
    in_a, in_b = set(a.entries), set(b.entries)
    has_steps = bool(a.steps and b.steps)
    # At once, because drawing the resamples costs most and serves any number of columns.
    before, after = (_columns(each, names, with_step=has_steps) for each in (a, b))
    figures = _compare(before, after, statistic)
    calls = _mean(_spread(a, names, a.calls)), _mean(_spread(b, names, b.calls))
    types = b.types | a.types
    rows = []
    for index, name in enumerate(names):
        if not (calls[0][index] or calls[1][index] or figures.before[index] or figures.after[index]):
            continue
        rows.append(
            _row(
                "entry",
                name,
                types.get(name, ""),
                figures,
                index,
                (a.steps, b.steps),
                min_change,
                (float(calls[0][index]), float(calls[1][index])),
                (name in in_a, name in in_b),
                compared,
            )
        )
    rows.sort(key=lambda row: (-abs(row.delta_ns), row.name))
    established = [row for row in rows if row.verdict in ("slower", "faster", "added", "removed")]
    shown = established if changed_only else rows
    total_calls = float(_mean(a.calls).sum()), float(_mean(b.calls).sum())
    both = (a.steps, b.steps)
    total = _row("total", "total", "", figures, len(names), both, min_change, total_calls, (True, True), compared)
    step = None
    if has_steps:
        step = _row("step", "step", "", figures, len(names) + 1, both, min_change, (None, None), (True, True), compared)
    return DiffTable(
        by=by,
        statistic=statistic,
        min_change=min_change,
        rows=tuple(shown[:limit] if limit else shown),
        groups=len(rows),
        changed=len(established),
        judged=sum(row.verdict in ("slower", "faster", "inconclusive") for row in rows),
        total=total,
        step=step,
        before_warmup=a.warmup,
        after_warmup=b.warmup,
        notes=_notes(a, b),
    )


@dataclass(frozen=True)
class _Figures:
    before: Matrix
    after: Matrix
    low: Matrix
    high: Matrix


def _compare(before: Matrix, after: Matrix, statistic: str) -> _Figures:
    if not len(before) or not len(after):  # a query that no step of a run has anything of
        unknown = np.full(before.shape[1], np.nan)
        return _Figures(_mean(before), _mean(after), unknown, unknown)
    found = differences(before, after, statistic)
    return _Figures(found.before, found.after, found.low, found.high)


def _columns(samples: StepSamples, names: Sequence[str], *, with_step: bool) -> Matrix:
    """The time of every entry of ``names``, then of all together, then the length of the step."""
    entries, total = _spread(samples, names, samples.ns), samples.ns.sum(axis=1, keepdims=True)
    return np.hstack((entries, total, samples.step_ns) if with_step else (entries, total))


def _mean(values: Matrix) -> Matrix:
    """The mean of every column; zero of no rows."""
    found: Matrix = values.sum(axis=0) / max(1, len(values))
    return found


def _spread(samples: StepSamples, names: Sequence[str], values: Matrix) -> Matrix:
    """The columns of ``values`` in the order of ``names``; zero where the run does not know the entry."""
    place = {name: index for index, name in enumerate(names)}
    found = np.zeros((len(values), len(names)))
    found[:, [place[name] for name in samples.entries]] = values
    return found


def _row(
    row: str,
    name: str,
    type_: str,
    figures: _Figures,
    index: int,
    steps: tuple[int, int],
    min_change: float,
    calls: tuple[float | None, float | None],
    present: tuple[bool, bool],
    compared: bool,
) -> DiffRow:
    before, after = float(figures.before[index]), float(figures.after[index])
    low, high = float(figures.low[index]), float(figures.high[index])
    delta = after - before
    known = min(steps) >= MIN_STEPS and not np.isnan(low)
    if not all(present):
        verdict = "added" if present[1] else "removed"
    elif not known or not compared:
        verdict = "unknown"
    elif low <= 0 <= high or abs(delta) < min_change * before:
        verdict = "inconclusive"
    else:
        verdict = "slower" if delta > 0 else "faster"
    interval = known and compared and all(present)
    return DiffRow(
        row=row,
        name=name,
        type=type_,
        verdict=verdict,
        before_ns=before if present[0] else None,
        after_ns=after if present[1] else None,
        delta_ns=delta,
        ratio=after / before if all(present) and before > 0 else None,
        low_ns=low if interval else None,
        high_ns=high if interval else None,
        before_calls=calls[0] if present[0] else None,
        after_calls=calls[1] if present[1] else None,
        before_steps=steps[0],
        after_steps=steps[1],
    )


def _notes(a: StepSamples, b: StepSamples) -> tuple[str, ...]:
    notes: list[str] = []
    without = [which for which, each in (("first", a), ("second", b)) if not each.has_steps]
    notes += [
        f"The query selects nothing in any step of the {which} run."
        for which, each in (("first", a), ("second", b))
        if each.has_steps and not each.steps
    ]
    few = [which for which, each in (("first", a), ("second", b)) if 0 < each.steps < MIN_STEPS]
    if len(without) == 2:
        notes.append("No steps in either run: whole recordings are compared, and how much they vary is not known.")
    elif without:
        notes.append(
            f"The {without[0]} run has no steps: its whole recording stands beside a step of the other, and the two "
            "cannot be compared by size."
        )
    notes += [
        f"The {which} run has fewer than {MIN_STEPS} steps after warm-up: how much they vary is not known."
        for which in few
    ]
    notes += [
        f"The {which} run lost spans to --max-size; "
        + ("steps that lost any are left out." if each.has_steps else "they are missing here.")
        for which, each in (("first", a), ("second", b))
        if each.evicted
    ]
    return tuple(notes)
