"""The optimizer's proof as a page: every candidate, and what the confirmed ones changed by layer and operator."""

from __future__ import annotations

from deepseek_prof.analysis.diff import DiffRow
from deepseek_prof.exporters.html_report.page import assets, template
from deepseek_prof.exporters.html_report.tables import NAME_LIMIT, Cell, Row, Table
from deepseek_prof.optimizer.proof_text import COMPARED, accuracy, conditions, details, handed_over, outcome, verdict
from deepseek_prof.optimizer.results import CandidateResult, Comparison, Optimization
from deepseek_prof.text import clean, count, duration, size

_SCRIPTS = ("theme.js", "tables.js")
_MEASURED = (
    "status", "gain", "low", "high", "A/A", "predicted", "median", "p99", "calls/s", "peak memory", "model", "accuracy",
)  # fmt: skip
_CHANGES = ("eager", "now", "change", "calls", "calls now", "verdict")
_NOTHING = Cell("–", 0)


def render(result: Optimization) -> str:
    """The page; like the report it holds all that it needs."""
    rows = [row for row in result.candidates if row.speedup is not None]
    return template("proof.html").render(
        root=clean(result.root),
        about=f"{conditions(result)}; goal: {result.goal}"
        + ("" if result.complete else f"; ended early by {result.ended_by}: not every combination was tried"),
        verdict=clean(verdict(result), 400),
        measured=Table(
            "measured", "Candidates", "passes", _MEASURED, tuple(map(_measured, rows)), f"{len(rows)} measured"
        ),
        outcomes=[(row.label, "\n".join([outcome(row), *details(row)])) for row in result.candidates],
        comparisons=[_comparison(row, row.comparison, result) for row in rows if row.comparison is not None],
        handover=handed_over(result),
        **assets(*_SCRIPTS),
    )


def _measured(row: CandidateResult) -> Row:
    low, high = row.interval or (0.0, 0.0)
    found = row.figures
    figures = (
        (
            _time(found.median_ns),
            _time(found.p99_ns),
            Cell(count(found.calls_per_s), found.calls_per_s),
            Cell(size(found.peak_bytes), found.peak_bytes),
            Cell(size(found.model_bytes), found.model_bytes) if found.model_bytes else _NOTHING,
        )
        if found is not None
        else (_NOTHING,) * 5
    )
    control = "{:.2f}–{:.2f}".format(*row.control) if row.control else "–"
    cells = (
        Cell(row.status, 0),
        *(Cell(f"{each:.2f}", each) for each in (row.speedup or 0.0, low, high)),
        Cell(control, row.control[1] if row.control else 0),
        Cell(f"{row.predicted:.2f}", row.predicted),
        *figures,
        Cell(accuracy(row), 0),
    )
    return Row(clean(row.label, NAME_LIMIT), cells, 0.0)


def _comparison(row: CandidateResult, found: Comparison, result: Optimization) -> tuple[str, str, tuple[Table, ...]]:
    number = result.candidates.index(row)
    tables = tuple(
        Table(f"{key}-{number}", title, key, _CHANGES, tuple(map(_changed, rows)), f"{len(rows)} that changed most")
        for key, title, rows in (
            ("layer", "By layer", found.layers),
            ("operator", "By operator", found.operators),
        )
    )
    note = f"{COMPARED} {' '.join(found.notes)}"
    return f"What {clean(row.label)} changed", note, tables


def _changed(row: DiffRow) -> Row:
    sign = "+" if row.delta_ns > 0 else "-" if row.delta_ns < 0 else ""
    cells = (
        *(_NOTHING if ns is None else _time(ns) for ns in (row.before_ns, row.after_ns)),
        Cell(f"{sign}{duration(abs(row.delta_ns))}", row.delta_ns),
        *(_NOTHING if calls is None else Cell(count(calls), calls) for calls in (row.before_calls, row.after_calls)),
        Cell(row.verdict, 0),
    )
    return Row(clean(row.name, NAME_LIMIT), cells, 0.0, row.type)


def _time(ns: float) -> Cell:
    return Cell(duration(ns), ns)
