"""``deepseek-prof export``: a run in a format that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query
from deepseek_prof.cli.parsing import QueryCommand
from deepseek_prof.errors import OutputError


class ExportCommand(QueryCommand):
    """Lists the installed formats in its help."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the formats with what each is for."""
        from deepseek_prof.exporters.registry import available

        formats = [(name, _summary(name)) for name in available()]
        if formats:  # none in a copy that is not installed
            with formatter.section("Formats"):
                formatter.write_dl(formats)


def _summary(name: str) -> str:
    from deepseek_prof.exporters.registry import load

    try:
        return load(name).summary
    except (ImportError, AttributeError) as error:  # of another package, which may lack what it needs
        return f"cannot be loaded: {error}"


def export_command(
    output_format: Annotated[str, typer.Argument(metavar="FORMAT", help="One of the formats below.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[RUN] [QUERY]", help=RUN_QUERY_HELP)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write; compressed where the name ends in .gz; '-': standard output. Default: the run's name "
            "with the format's ending, in the working directory.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help=RUN_HELP)] = None,
    query: Annotated[str | None, typer.Option("--query", metavar="QUERY", help=QUERY_HELP)] = None,
) -> None:
    """Write a run, or what a query selects of it, in a format that other tools read."""
    from deepseek_prof.cli.exported_file import exported_file, is_stdout
    from deepseek_prof.exporters.registry import Selection, load
    from deepseek_prof.narration import Narrator

    exporter = load(output_format)
    path, query_text = split_run_and_query(arguments or [], run, query)
    selection = Selection(compiled(query_text), query_text)
    to_stdout = is_stdout(output)
    narrator = Narrator(quiet=quiet)
    with open_run(path) as opened:
        target = None if to_stdout else output or Path(_file_name(opened.name, exporter.suffix))
        if target is not None and target.is_file() and not force:
            raise OutputError(f"{target} exists already. Name another file with -o FILE, or replace it with --force.")
        with exported_file(target, narrator) as file:
            exporter.write(opened, selection, file)
    if target is not None:
        from deepseek_prof.text import size

        narrator.say(f"wrote {target} ({size(target.stat().st_size)})")


def _file_name(run_name: str, suffix: str) -> str:
    """A name of a run's is the user's, and may hold what would lead out of the folder."""
    from deepseek_prof.text import clean

    name = clean(run_name.replace("/", "_"), 100).lstrip(".")
    return f"{name or 'run'}{suffix}"
