"""Arguments that reading commands share: ``[RUN] [QUERY]``, and opening a run, unfinished ones too."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_prof.errors import OutputError, UsageError
from deepseek_prof.trace.catalog import looks_like_run, resolve_run

if TYPE_CHECKING:
    from deepseek_prof.query import Table
    from deepseek_prof.trace.run import Condition, Run

RUN_QUERY_HELP = (
    "A run (directory, name or 'latest'; may be left out), then a query such as 'type:matmul phase:backward'."
)
RUN_HELP = "The run, where its name could be taken for a query."
QUERY_HELP = "The query, where it could be taken for a run or begins with '-'."


def split_run_and_query(arguments: Sequence[str], run: str | None = None, query: str | None = None) -> tuple[Path, str]:
    """The run's directory and the query ('' for none) of a reading command.

    As in git, a first argument that names an existing run is the run, anything else begins the query; ``run`` and
    ``query`` are the values of ``--run`` and ``--query`` and settle it. Further arguments belong to the query.

    Raises:
        UsageError: both ``--query`` and a query among the arguments.
        RunNotFoundError: no such run, or no run at all.
    """
    rest = list(arguments)
    if run is None and rest and (looks_like_run(rest[0]) or _is_path(rest[0])):
        run = rest.pop(0)
    text = one_query(rest, query)
    return resolve_run(run), text


def one_query(words: Sequence[str], query: str | None) -> str:
    """The query of a command, from its arguments or from ``--query``; '' where it is blank.

    Raises:
        UsageError: both are given.
    """
    if query is not None and words:
        raise UsageError(f"Give the query once: as --query or as an argument, not both ({' '.join(words)!r}).")
    text = query if query is not None else " ".join(words)
    return text if text.strip() else ""


def _is_path(text: str) -> bool:
    """Whether a text that is no run can still only mean a directory, so that the error should say so."""
    return text.startswith(("./", "../", "/", "~")) or (text.endswith(os.sep) and len(text) > 1)


def compiled(query: str, table: Table | None = None) -> Condition | None:
    """The SQL condition of a query on a view (None: spans); None for an empty one.

    Raises:
        QueryError: the query does not parse.
    """
    if not query.strip():
        return None
    from deepseek_prof.query import Table, compile_query

    return compile_query(query, table or Table.SPANS)


def open_run(path: Path) -> Run:
    """Open a run for reading; what a killed recording left in ``live/`` is converted first.

    A run that is still being recorded is read as far as it is converted, which is said on stderr.
    """
    from deepseek_prof.trace.run import Run

    if (path / "live").is_dir():
        from deepseek_prof.recording.recover import needs_recovery

        if needs_recovery(path):
            print(f"deepseek-prof: {path.name} was not finished; converting what is there.", file=sys.stderr)
            _recover_if_possible(path)
        else:
            print(
                f"deepseek-prof: {path.name} is still being recorded; showing what is converted so far.",
                file=sys.stderr,
            )
    return Run.open(path)


def _recover_if_possible(path: Path) -> None:
    from deepseek_prof.recording.recover import recover

    try:
        recover(path)
    except OutputError as error:
        # A folder that cannot be written can still be read as far as it was converted.
        print(f"deepseek-prof: {error} Showing what is converted so far.", file=sys.stderr)
