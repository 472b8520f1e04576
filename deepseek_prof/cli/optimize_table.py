"""The proof as tables in the terminal: eager and every candidate, with what won and what did not."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from deepseek_prof.cli.batch_table import show_batches
from deepseek_prof.cli.rendering import figures_table
from deepseek_prof.optimizer.results import CandidateResult, Optimization
from deepseek_prof.text import clean, count, duration, percent, size

_HEADERS = ("speed-up", "95 % interval", "A/A", "predicted", "median", "p99", "calls/s", "memory", "model", "accuracy")
_DROP = ("p99", "calls/s", "model", "predicted", "memory", "A/A", "accuracy")
_OPERATORS = 10
_NOTHING = "–"


def show(result: Optimization, console: Console) -> None:
    """Verdict, table, and the reasons of what did not win. Names and messages of programs are shown as data."""
    console.print(Text(_verdict(result)))
    console.print(
        Text(
            f"{clean(result.root)} in {result.mode} on {result.device}, {result.threads} "
            f"thread{'s' if result.threads > 1 else ''}, {len(result.signatures)} kinds of inputs; "
            f"times are of one {_unit(result)}, against eager in the same rounds",
            style="dim",
        )
    )
    measured = [row for row in result.candidates if row.speedup is not None]
    if measured:
        rows = [_eager(result), *(_cells(row) for row in measured)]
        console.print(figures_table("passes", _HEADERS, rows, console.width, drop=_DROP, name_width=30))
    for row in result.candidates:
        console.print(Text(f"{row.label}: {row.status}{f' – {clean(row.reason, 400)}' if row.reason else ''}"))
        for line in _details(row):
            console.print(Text(f"  {clean(line, 400)}", style="dim"))
    if result.winner is not None and result.winner.operators:
        _show_operators(result.winner, console, _unit(result))
    if result.batches:
        show_batches(result, console)
    if not result.complete:
        console.print(Text(f"The search ended early ({result.ended_by}): not every combination was tried."))


def _unit(result: Optimization) -> str:
    return "training step" if result.mode == "training" else "call"


def _show_operators(row: CandidateResult, console: Console, unit: str) -> None:
    console.print(Text(f"\nWhat {row.label} changed most, by operator (self time, one {unit} of each kind of inputs):"))
    rows = [
        [
            each.name, duration(each.before_ns), duration(each.after_ns), count(each.before_count),
            count(each.after_count),
        ]
        for each in row.operators[:_OPERATORS]
    ]  # fmt: skip
    console.print(figures_table("operator", ("eager", "now", "calls", "calls now"), rows, console.width))


def _verdict(result: Optimization) -> str:
    winner = result.winner
    if winner is None or winner.interval is None:
        return "No pass is proven to make this program faster."
    low, high = winner.interval
    differs = f" Its results are not eager's: {_accuracy(winner)} by {_measure(winner)}." if winner.lossy else ""
    return (
        f"{winner.label} is {winner.speedup:.2f} × as fast as eager (95 % interval {low:.2f} to {high:.2f}).{differs}"
    )


def _eager(result: Optimization) -> list[str]:
    found = result.baseline
    if found is None:
        return ["eager", *[_NOTHING] * len(_HEADERS)]
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
        _accuracy(row),
    ]


def _interval(found: tuple[float, float] | None) -> str:
    return f"{found[0]:.2f}–{found[1]:.2f}" if found else _NOTHING


def _accuracy(row: CandidateResult) -> str:
    if row.loss is not None and row.loss > 0:
        return f"-{percent(row.loss)}"
    apart = (row.numerics or {}).get("loss_difference")
    if apart is not None:
        return f"loss ±{apart:.0e}"
    sqnr = (row.numerics or {}).get("sqnr_db")
    return f"{sqnr:.0f} dB" if sqnr is not None else "equal" if row.numerics else _NOTHING


def _measure(row: CandidateResult) -> str:
    if "loss_difference" in (row.numerics or {}):
        return "the largest difference of a step"
    return "the metric or the largest entries" if row.loss is not None and row.loss > 0 else "signal to noise"


def _details(row: CandidateResult) -> list[str]:
    lines = [*row.fired, *row.notes]
    if row.compile_ns is not None and row.speedup is not None:
        pays = f"; pays after {row.break_even_calls:,} calls" if row.break_even_calls else ""
        lines.append(f"prepared in {duration(row.compile_ns)}{pays}")
    return lines
