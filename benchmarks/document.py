"""Writes ``docs/benchmarks.md`` from JSON results: ``python -m benchmarks.document out.json [more.json]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import machine_line
from benchmarks.results import BenchmarkError, BenchmarkResult
from benchmarks.session import ROOT
from benchmarks.table import heading, markdown_table

PREAMBLE = """\
# Benchmarks

This page is written by `python -m benchmarks.document out.json`, after `python -m benchmarks --json out.json`. Change
the script, not the page. `--only NAME` measures one section, also those outside the default set, and further results
add their sections.

Each arm runs in a fresh process started through the command line, all arms of a round in shuffled order. A ratio is
formed within a round; the table shows the median over rounds with a 95 % bootstrap interval. Step times are taken
inside the program, first steps left out: the median over blocks of 0.1 s of each block's mean, so that a burst of
something else on the machine does not decide. `bare again` is the same program twice: its interval is the noise that
every other ratio carries. Kineto rows are `torch.profiler` in the same invocation, at fewer events where its memory
asks for it, and are stated per event. A verdict compares the median with the bar.
"""


def document(result: BenchmarkResult) -> str:
    """Return the page. Raises BenchmarkError for a quick, an interrupted or a partly failed result."""
    failed = [entry.name for entry in result.measurements if entry.error is not None]
    if result.quick or result.interrupted or failed:
        raise BenchmarkError(f"not a full result (quick: {result.quick}, interrupted: {result.interrupted}, {failed=})")
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    minutes = sum(entry.seconds for entry in result.measurements) / 60
    parts = [
        PREAMBLE,
        f"Last run: {heading(result)}, {minutes:.0f} minutes.\n",
        f"- Machine: {machine_line(result.machine)}\n- Versions: {versions}\n",
    ]
    parts += [f"## {entry.title}\n\n{markdown_table(entry)}\n" for entry in result.measurements]
    return "\n".join(parts)


def merged(results: Sequence[BenchmarkResult]) -> BenchmarkResult:
    """Return the first result with the sections of the others, which replace those of the same name.

    The title of a section of another day says its date, and that of one that was held to fewer of the machine's CPUs
    says so, with the load beside it.

    Raises BenchmarkError where they come from different machines or versions: one table must not mix them.
    """
    first, *others = results
    sections = {entry.name: entry for entry in first.measurements}
    for other in others:
        if (other.versions, _hardware(other)) != (first.versions, _hardware(first)):
            raise BenchmarkError("the results come from different machines or versions")
        held = "" if other.machine["cpus"] == first.machine["cpus"] else _held(other)
        day = other.started[:10]
        dated = "" if day == first.started[:10] else f", {day}"
        sections |= {entry.name: replace(entry, title=entry.title + held + dated) for entry in other.measurements}
    return replace(
        first,
        quick=any(each.quick for each in results),
        interrupted=any(each.interrupted for each in results),
        measurements=tuple(sections.values()),
    )


def _hardware(result: BenchmarkResult) -> dict[str, object]:
    return {key: value for key, value in result.machine.items() if key not in ("load_average_at_start", "cpus")}


def _held(result: BenchmarkResult) -> str:
    machine = result.machine
    return f", held to {machine['cpus']} of the CPUs, load {machine['load_average_at_start']:.1f} at the start"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 with a message when the result is not fit to be shown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="JSON results of python -m benchmarks")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md", help="the page to write")
    arguments = parser.parse_args(argv)
    try:
        text = document(merged([BenchmarkResult.read(path) for path in arguments.results]))
    except (BenchmarkError, OSError) as failure:
        print(failure, file=sys.stderr)
        return 1
    arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
