"""The command: runs the measurements round by round, shows the table, writes the JSON result.

``python -m benchmarks [--only NAME] [--rounds 9] [--json out.json]``. Figures are made in interleaved rounds of fresh
processes; a ratio is formed within a round and the median over rounds is shown. Ctrl-C keeps what was measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console

if __package__ in {None, ""}:
    # Started as a script, which puts benchmarks/ and not its parent on the path.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.machine import describe_machine, describe_versions
from benchmarks.registry import MEASUREMENTS, Measurement
from benchmarks.results import BenchmarkError, BenchmarkResult, MeasurementResult, Sample
from benchmarks.session import Session
from benchmarks.table import terminal_table

DEFAULT_ROUNDS = 9
EXIT_INTERRUPTED = 130
PIPE_WIDTH_COLUMNS = 160


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when every measurement ended, 1 when one failed, 130 after Ctrl-C.

    A missed bar is no failure: timing never decides a test, the table is read by people.
    """
    arguments = _parser().parse_args(argv)
    narration = Console(stderr=True, highlight=False)
    chosen = tuple(
        entry for entry in MEASUREMENTS if (entry.name in arguments.only if arguments.only else entry.in_default_set)
    )
    with tempfile.TemporaryDirectory(prefix="deepseek-prof-benchmarks-", dir=arguments.work_dir) as work_dir:
        session = Session(Path(work_dir).resolve(), quick=arguments.quick, arms=arguments.arm)
        result = BenchmarkResult(
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            quick=arguments.quick,
            machine=describe_machine(Path(work_dir)),
            versions=describe_versions(),
        )

        def keep(so_far: BenchmarkResult) -> None:
            if arguments.json is not None:
                so_far.write(arguments.json)

        rounds = arguments.rounds if arguments.rounds is not None else (1 if arguments.quick else DEFAULT_ROUNDS)
        result = run_all(result, chosen, session, rounds, narration, keep)
    # A pipe or a file has no width of its own, and 80 columns would fold every row.
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH_COLUMNS, highlight=False).print(terminal_table(result))
    if result.interrupted:
        return EXIT_INTERRUPTED
    return 1 if any(entry.error is not None for entry in result.measurements) else 0


def run_all(
    result: BenchmarkResult,
    measurements: Sequence[Measurement],
    session: Session,
    rounds: int,
    narration: Console,
    keep: Callable[[BenchmarkResult], None],
) -> BenchmarkResult:
    """Run the measurements one after another; ``keep`` gets the result after each, so that little can be lost."""
    for measurement in measurements:
        done, interrupted = run_measurement(measurement, session, rounds, narration)
        result = replace(result, measurements=(*result.measurements, done), interrupted=interrupted)
        keep(result)
        if interrupted:
            break
    return result


def run_measurement(
    measurement: Measurement, session: Session, rounds: int, narration: Console
) -> tuple[MeasurementResult, bool]:
    """Run the rounds of one measurement; the second value says whether Ctrl-C ended them."""
    samples: list[Sample] = []
    error: str | None = None
    interrupted = False
    start_s = time.monotonic()
    total = min(rounds, measurement.max_rounds or rounds)
    try:
        for index in range(total):
            narration.print(f"{measurement.name}: round {index + 1} of {total}")
            samples.append(measurement.measure_round(session, index))
    except BenchmarkError as failure:
        error = str(failure)
        narration.print(f"{measurement.name} failed: {error}", style="red", markup=False)
    except KeyboardInterrupt:
        interrupted = True
        narration.print(f"{measurement.name}: interrupted after {len(samples)} of {total} rounds")
    rows = measurement.rows(samples)
    seconds = time.monotonic() - start_s
    return MeasurementResult(measurement.name, measurement.title, seconds, rows, tuple(samples), error), interrupted


def _parser() -> argparse.ArgumentParser:
    names = [entry.name for entry in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure deepseek-prof against its bars.")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--arm", action="append", default=[], help="with bare, only this arm: ops, budget, kineto, …")
    parser.add_argument("--rounds", type=_positive, help=f"rounds of interleaved processes (default {DEFAULT_ROUNDS})")
    parser.add_argument("--json", type=_writable, help="write rows and raw samples here, after every measurement")
    parser.add_argument(
        "--work-dir", type=_directory, help="where run directories are written (default: the temporary folder)"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds; its figures mean nothing")
    return parser


def _writable(text: str) -> Path:
    path = Path(text)
    if not path.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder of {text} does not exist")
    return path


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no directory")
    return path


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
