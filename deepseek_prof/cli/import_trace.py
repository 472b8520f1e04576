"""``deepseek-prof import``: make a run of what another profiler wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deepseek_prof.importing.importer import ImportResult
    from deepseek_prof.narration import Narrator

_FIRST_NEWS_S = 1.0
_NEWS_EVERY_S = 2.0


def import_command(
    traces: Annotated[
        list[Path], typer.Argument(metavar="TRACE...", help="Chrome traces of torch.profiler, plain or gzip.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Write the run into this very directory.")
    ] = None,
    rank: Annotated[
        list[int] | None,
        typer.Option("--rank", metavar="N", min=0, help="The rank of each trace in turn; else as the traces tell."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings.")] = False,
) -> None:
    """Make a run of traces that torch.profiler or another tool wrote, one file a rank.

    Reads the Chrome trace format: export_chrome_trace() and tensorboard_trace_handler() files with operators, modules,
    kernels and copies, and arrays of trace events. What is whole in a file that was cut off is kept.
    """
    import time

    from deepseek_prof.importing.importer import import_traces
    from deepseek_prof.narration import Narrator

    narrator = Narrator(quiet=quiet)
    next_news_s = time.monotonic() + _FIRST_NEWS_S

    def progress(text: str) -> None:
        nonlocal next_news_s
        now_s = time.monotonic()
        if now_s >= next_news_s:
            next_news_s = now_s + _NEWS_EVERY_S
            narrator.say(text)

    _tell(import_traces(traces, _output(output, traces[0]), ranks=rank or (), progress=progress), narrator)


def _output(output: Path | None, first_trace: Path) -> Path:
    from deepseek_prof.recording.run_directory import default_run_directory

    return output if output is not None else default_run_directory(first_trace.name.partition(".")[0])


def _tell(result: ImportResult, narrator: Narrator) -> None:
    from deepseek_prof.text import counted
    from deepseek_prof.trace.catalog import default_root

    for warning in result.warnings:
        narrator.warn(warning)
    run_dir = result.run_dir
    short = run_dir.name if run_dir.resolve().parent == default_root().resolve() else str(run_dir)
    devices = f", {result.device_spans:,} of them on accelerators" if result.device_spans else ""
    steps = f", in {counted(result.steps, 'step')}" if result.steps else ""
    narrator.say(f"imported {counted(result.spans, 'span')} from {counted(result.events, 'event')}{devices}{steps}")
    narrator.say(f"see where the time went: deepseek-prof report {short}")
