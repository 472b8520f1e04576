"""The proof as tables in the terminal: eager and every candidate, with what won and what did not."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.text import Text

from deepseek_prof.cli.batch_table import show_batches
from deepseek_prof.cli.rendering import figures_table
from deepseek_prof.optimizer.proof_text import (
    COMPARED,
    accuracy,
    conditions,
    details,
    handed_over,
    outcome,
    unit_of,
    verdict,
)
from deepseek_prof.optimizer.results import CandidateResult, Comparison, Optimization
from deepseek_prof.text import clean, count, duration, size

_HEADERS = ("95 % interval", "A/A", "predicted", "median", "p99", "calls/s", "memory", "model", "accuracy")
_DROP = ("p99", "calls/s", "model", "predicted", "memory", "A/A", "accuracy")
_SHOWN = 8
_NOTHING = "–"


def show(result: Optimization, console: Console) -> None:
    """Verdict, table, and the reasons of what did not win. Names and messages of programs are shown as data."""
    console.print(Text(verdict(result)))
    console.print(Text(conditions(result), style="dim"))
    measured = [row for row in result.candidates if row.speedup is not None]
    if measured:
        rows = [_eager(result), *(_cells(row) for row in measured)]
        gain = "less memory" if result.goal == "memory" else "speed-up"
        console.print(figures_table("passes", (gain, *_HEADERS), rows, console.width, drop=_DROP, name_width=30))
    for row in result.candidates:
        console.print(Text(f"{row.label}: {outcome(row)}"))
        for line in details(row):
            console.print(Text(f"  {line}", style="dim"))
    winner = result.winner
    if winner is not None and winner.comparison is not None:
        _show_comparison(winner, winner.comparison, console)
    elif winner is not None and winner.operators:
        _show_operators(result, winner, console)
    if result.batches:
        show_batches(result, console)
    for line in handed_over(result):
        console.print(Text(line))
    if not result.complete:
        console.print(Text(f"The search ended early ({result.ended_by}): not every combination was tried."))


def _show_comparison(row: CandidateResult, found: Comparison, console: Console) -> None:
    console.print(Text(f"\nWhat {row.label} changed most:"))
    console.print(Text(" ".join((COMPARED, *found.notes)), style="dim"))
    for by, changes in (("layer", found.layers), ("operator", found.operators)):
        rows = [
            [
                each.name,
                *(_NOTHING if ns is None else duration(ns) for ns in (each.before_ns, each.after_ns)),
                *(_NOTHING if calls is None else count(calls) for calls in (each.before_calls, each.after_calls)),
                each.verdict,
            ]
            for each in changes[:_SHOWN]
        ]
        headers = ("eager", "now", "calls", "calls now", "verdict")
        console.print(figures_table(by, headers, rows, console.width, drop=("calls", "calls now")))
    where = " ".join(shlex.quote(clean(each, 300)) for each in (found.before, found.after))
    console.print(Text(f"All of it: deepseek-prof diff {where}", style="dim"), soft_wrap=True)  # one line, to copy


def _show_operators(result: Optimization, row: CandidateResult, console: Console) -> None:
    console.print(
        Text(f"\nWhat {row.label} changed most, by operator (self time, one {unit_of(result)} of each kind of inputs):")
    )
    rows = [
        [
            each.name, duration(each.before_ns), duration(each.after_ns), count(each.before_count),
            count(each.after_count),
        ]
        for each in row.operators[:_SHOWN]
    ]  # fmt: skip
    console.print(figures_table("operator", ("eager", "now", "calls", "calls now"), rows, console.width))


def _eager(result: Optimization) -> list[str]:
    found = result.baseline
    if found is None:
        return ["eager", *[_NOTHING] * (1 + len(_HEADERS))]
    return [
        "eager", "1.00", *[_NOTHING] * 3, duration(found.median_ns), duration(found.p99_ns), count(found.calls_per_s),
        size(found.peak_bytes), size(found.model_bytes) if found.model_bytes else _NOTHING, _NOTHING,
    ]  # fmt: skip


def _cells(row: CandidateResult) -> list[str]:
    found = row.figures
    return [
        row.label,
        f"{row.speedup:.2f}",
        _interval(row.interval),
        _interval(row.control),
        f"{row.predicted:.2f}",
        duration(found.median_ns) if found else _NOTHING,
        duration(found.p99_ns) if found else _NOTHING,
        count(found.calls_per_s) if found else _NOTHING,
        size(found.peak_bytes) if found else _NOTHING,
        size(found.model_bytes) if found and found.model_bytes else _NOTHING,
        accuracy(row),
    ]


def _interval(found: tuple[float, float] | None) -> str:
    return f"{found[0]:.2f}–{found[1]:.2f}" if found else _NOTHING
