"""``deepseek-prof optimize``: try passes on a program as it is, and prove which of them make it faster."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from deepseek_prof.cli.parsing import options_behind
from deepseek_prof.errors import OutputError, UsageError

_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h)\s*")
_SECONDS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}


def optimize_command(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="PROGRAM [ARGUMENTS]...", help="As after `python`.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODULE:FACTORY", help="In place of a program: a function that returns (model, inputs)."
        ),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="auto|inference|training", help="Of calls or of training steps.")
    ] = "auto",
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="How long to search: 90s, 10min.")] = "10min",
    passes: Annotated[
        str | None, typer.Option("--passes", metavar="NAME,...", help="Only these passes. Default: all.")
    ] = None,
    without: Annotated[str | None, typer.Option("--no", metavar="NAME,...", help="Not these passes.")] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="MODULE:FUNCTION", help="Your accuracy: gets the model, returns a number."),
    ] = None,
    max_loss: Annotated[
        str, typer.Option("--max-loss", metavar="PERCENT", help="Largest relative loss of the metric.")
    ] = "1%",
    batch_sizes: Annotated[
        str | None,
        typer.Option("--batch-sizes", metavar="N,...", help="Measure throughput with these batches too: 1,2,4,8."),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option("--max-latency", metavar="TIME", help="With --batch-sizes: of the 99th percentile of a call."),
    ] = None,
    goal: Annotated[
        str, typer.Option("--goal", metavar="latency|throughput|memory", help="What decides the winner.")
    ] = "latency",
    apply: Annotated[
        Path | None,
        typer.Option("--apply", metavar="FILE", help="Write a Python file that applies the winner to the model."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the proof as a page.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")] = False,
    format: Annotated[str, typer.Option("--format", metavar="table|json", help="Of standard output.")] = "table",  # noqa: A002  # the option's name
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings.")] = False,
) -> None:
    """Try passes on an unmodified program and prove which make it faster.

    The program is run again for each candidate up to one call of its root module, and timed there beside eager; a
    training is run for some steps. What the program does before, it does each time. Ctrl-C ends the search and keeps
    what was measured.
    """
    import json

    from deepseek_prof.cli.optimize_table import show
    from deepseek_prof.cli.rendering import OutputConsole
    from deepseek_prof.config import parse_percent
    from deepseek_prof.narration import Narrator
    from deepseek_prof.optimizer.optimize import OptimizeSettings, optimize_program
    from deepseek_prof.optimizer.replay import factory_command
    from deepseek_prof.optimizer.survey import MODES
    from deepseek_prof.recording.command import resolve_command

    if format not in ("table", "json"):
        raise UsageError(f"--format {format!r} is not one of table, json.")
    if mode not in MODES:
        raise UsageError(f"--mode {mode!r} is not one of {', '.join(MODES)}.")
    if metric is not None and not re.fullmatch(r"[\w.]+:\w+", metric):
        raise UsageError(f"--metric {metric!r}: write it as package.module:function.")
    if max_latency is not None and batch_sizes is None:
        raise UsageError("--max-latency limits batches: say which with --batch-sizes 1,2,4,8.")
    if bool(command) == bool(model):
        raise UsageError("Say what to optimize: deepseek-prof optimize train.py, or --model package.module:factory.")
    settings = OptimizeSettings(
        mode=mode,
        budget_s=parse_time(budget),
        passes=_names(passes),
        without=_names(without) or (),
        metric=metric,
        max_loss=parse_percent(max_loss),
        batch_sizes=_sizes(batch_sizes),
        max_latency_s=math.inf if max_latency is None else parse_time(max_latency, "--max-latency"),
        goal=goal,
        apply=apply,
        force=force,
    )
    if html is not None and not html.parent.is_dir():
        raise OutputError(f"{html} cannot be written: no folder {html.parent}.")
    if html is not None and html.exists() and not force:
        raise OutputError(f"{html} exists already. Name another file with --html, or replace it with --force.")
    resolved = factory_command(model) if model else resolve_command(command or [])
    narrator = Narrator(quiet=quiet)
    if behind := options_behind(context.command, command or []):
        narrator.warn(f"the program gets {' '.join(behind)}: options of deepseek-prof stand before the program.")
    result = optimize_program(resolved, settings, narrator)
    if format == "json":
        print(json.dumps(result.as_json()))
    else:
        console = OutputConsole()
        show(result, console)
    if html is not None:
        from deepseek_prof.cli.exported_file import exported_file
        from deepseek_prof.exporters.html_report.proof_page import render

        with exported_file(html, narrator) as file:
            file.write(render(result).encode())
        narrator.say(f"wrote {html}")
    if result.ended_by == "interrupt":
        raise KeyboardInterrupt
    if result.not_applied is not None and result.winner is not None:
        raise OutputError(result.not_applied)


def parse_time(text: str, option: str = "--budget") -> float:
    """Seconds of ``50ms``, ``90s``, ``10min`` or ``1h``. Raises UsageError, which names the option."""
    match = _TIME.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"{option} {text!r} is not a time. Write it as 50ms, 90s, 10min or 1h.")
    return float(match[1]) * _SECONDS[match[2]]


def _sizes(text: str | None) -> tuple[int, ...]:
    words = _names(text) or ()
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"--batch-sizes {text!r}: write numbers of 1 or more, such as 1,2,4,8.")
    return tuple(int(word) for word in words)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(each.strip() for each in text.split(",") if each.strip())
