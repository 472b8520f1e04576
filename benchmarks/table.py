"""The table of a benchmark run, for the terminal and for Markdown."""

from __future__ import annotations

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.machine import machine_line
from benchmarks.results import BenchmarkResult, MeasurementResult, Row

VERDICT_STYLES = {"reached": "green", "missed": "bold red", "": ""}
COLUMNS = ("quantity", "median", "95 % interval", "bar", "rounds", "verdict", "note")


def terminal_table(result: BenchmarkResult) -> Group:
    """Return one rich table a measurement, between the heading and the machine."""
    parts: list[RenderableType] = [Text(heading(result), style="bold")]
    for measurement in result.measurements:
        table = Table(box=box.SIMPLE_HEAD, title=Text(measurement.title, style="bold"), title_justify="left")
        for column in COLUMNS:
            justify: JustifyMethod = "right" if column in {"median", "bar", "rounds"} else "left"
            table.add_column(column, justify=justify, overflow="fold")
        for entry in measurement.rows:
            table.add_row(*cells(entry), style=VERDICT_STYLES[entry.verdict])
        if measurement.error is not None:
            table.add_row(Text("failed: see above", style="bold red"))
        parts.append(table)
    return Group(*parts, Text(machine_line(result.machine), style="dim"))


def heading(result: BenchmarkResult) -> str:
    """Return date, versions, and what to hold against the figures."""
    versions = result.versions
    text = (
        f"{result.started[:16].replace('T', ' ')} UTC: deepseek-prof {versions['deepseek-prof']}, "
        f"torch {versions['torch']}, Python {versions['python']}"
    )
    if result.quick:
        text += " (quick: too short to compare)"
    if result.interrupted:
        text += " (interrupted: fewer rounds than asked for)"
    return text


def cells(entry: Row) -> tuple[str, ...]:
    """Return the texts of one row, in the order of ``COLUMNS``."""
    unit = f" {entry.unit}" if entry.unit not in {"", "x"} else ""
    interval = f"{number(entry.low)} to {number(entry.high)}" if entry.rounds > 1 else ""
    bar = f"<= {entry.bar:g}{unit}" if entry.bar is not None else ""
    median = number(entry.median) + unit
    return (entry.quantity, median, interval, bar, str(entry.rounds), entry.verdict, entry.reference)


def number(value: float) -> str:
    """Return a figure with the digits that a benchmark can stand behind."""
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def markdown_table(measurement: MeasurementResult) -> str:
    """Return one measurement as a Markdown table without its heading."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in cells(entry)) + " |" for entry in measurement.rows]
    return "\n".join(lines)
