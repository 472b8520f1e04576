"""``deepseek-prof export``: a run in a format that other tools read."""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from deepseek_prof.cli.arguments import QUERY_HELP, RUN_HELP, RUN_QUERY_HELP, compiled, open_run, split_run_and_query
from deepseek_prof.cli.parsing import QueryCommand
from deepseek_prof.errors import OutputError, UsageError

if TYPE_CHECKING:
    from deepseek_prof.narration import Narrator

STDOUT = "-"
_FIRST_NEWS_S = 1.0
_FIRST_NEWS_BYTES = 1 << 20
_NEWS_EVERY_S = 2.0
_GZIP_LEVEL = 3
"""Twice as fast as 6, and a tenth larger."""


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
    from deepseek_prof.exporters.registry import Selection, load
    from deepseek_prof.narration import Narrator

    exporter = load(output_format)
    path, query_text = split_run_and_query(arguments or [], run, query)
    selection = Selection(compiled(query_text), query_text)
    to_stdout = output is not None and str(output) == STDOUT
    if to_stdout and sys.stdout.isatty():
        raise UsageError("Such a file is not for a terminal. Name one with -o FILE, or write to a pipe.")
    narrator = Narrator(quiet=quiet)
    with open_run(path) as opened:
        target = None if to_stdout else output or Path(_file_name(opened.name, exporter.suffix))
        if target is not None and target.is_file() and not force:
            raise OutputError(f"{target} exists already. Name another file with -o FILE, or replace it with --force.")
        with _opened(target, narrator) as file:
            exporter.write(opened, selection, file)
    if target is not None:
        from deepseek_prof.text import size

        narrator.say(f"wrote {target} ({size(target.stat().st_size)})")


def _file_name(run_name: str, suffix: str) -> str:
    """A name of a run's is the user's, and may hold what would lead out of the folder."""
    from deepseek_prof.text import clean

    name = clean(run_name.replace("/", "_"), 100).lstrip(".")
    return f"{name or 'run'}{suffix}"


@contextmanager
def _opened(target: Path | None, narrator: Narrator) -> Iterator[BinaryIO]:
    """A file that takes its place once it is whole, compressed where its name says so; standard output for None."""
    from deepseek_prof.cli.sql_output import destination

    with destination(target) as to:
        counted = _Counted(to.binary, narrator)
        if target is None or target.suffix != ".gz":
            yield cast(BinaryIO, counted)
            return
        # Neither time nor name inside: the same run makes the same file.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, cast(Any, counted), mtime=0) as packed:
            yield cast(BinaryIO, packed)


class _Counted(BufferedIOBase):
    """Passes bytes on to ``file``, which stays open, and says on stderr how far it is, from the second second on."""

    def __init__(self, file: BinaryIO, narrator: Narrator) -> None:
        self._file = file
        self._narrator = narrator
        self._written_bytes = 0
        self._next_news_s = time.monotonic() + _FIRST_NEWS_S

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        self._file.write(data)
        self._written_bytes += len(data)
        now_s = time.monotonic()
        if now_s >= self._next_news_s and self._written_bytes >= _FIRST_NEWS_BYTES:
            from deepseek_prof.text import size

            self._next_news_s = now_s + _NEWS_EVERY_S
            self._narrator.say(f"{size(self._written_bytes)} written")
        return len(data)

    def flush(self) -> None:
        """Pass on what is buffered."""
        if not self.closed:
            self._file.flush()
