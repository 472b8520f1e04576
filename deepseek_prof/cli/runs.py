"""``deepseek-prof runs``: what was recorded here."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deepseek_prof.trace.catalog import RunEntry


INTERRUPTED = "interrupted"
"""The status of a run whose recording was killed, until any command reads the run and so converts what is left."""


class RunsFormat(str, Enum):
    """Values of ``--format``."""

    table = "table"
    json = "json"


def local_time(epoch_ns: int) -> str:
    """``2026-01-31 18:05``; nothing for 0, which stands for unknown."""
    from datetime import datetime, timezone

    if not epoch_ns:
        return ""
    return datetime.fromtimestamp(epoch_ns / 1e9, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")


def _as_it_is(entry: RunEntry) -> RunEntry:
    """``interrupted`` in place of ``running`` where nobody records the run any more: its recording was killed."""
    from dataclasses import replace

    from deepseek_prof.recording.recover import needs_recovery

    return replace(entry, status=INTERRUPTED) if entry.status == "running" and needs_recovery(entry.path) else entry


def _status(entry: RunEntry) -> str:
    """``finished``, and how the program ended where that was not well: ``finished (3)``, ``finished (SIGKILL)``."""
    from deepseek_prof.text import clean

    ending = clean(entry.signal, 12) or (str(entry.exit_code) if entry.exit_code else "")
    return clean(entry.status, 12) + (f" ({ending})" if ending else "")


def runs_command(
    root: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of runs; default: .deepseek-prof")
    ] = None,
    output_format: Annotated[RunsFormat, typer.Option("--format", help="How to write it.")] = RunsFormat.table,
) -> None:
    """List the runs recorded here, newest first."""
    from deepseek_prof.trace.catalog import default_root, list_runs

    folder = default_root() if root is None else root
    entries = [_as_it_is(entry) for entry in list_runs(folder)]
    if output_format is RunsFormat.json:
        import json
        from dataclasses import asdict

        print(json.dumps([{**asdict(entry), "path": str(entry.path)} for entry in entries], indent=1))
        return
    import sys

    from deepseek_prof.cli.rendering import OutputConsole, emit, figures_table
    from deepseek_prof.text import count, duration, shortened, size

    if not entries:
        print(f"deepseek-prof: no runs in {folder}. Record one: deepseek-prof run train.py", file=sys.stderr)
        return
    rows = [
        (
            entry.name,
            local_time(entry.created_ns),
            shortened(entry.script, 24),
            _status(entry),
            duration(max(0, entry.ended_ns - entry.created_ns)) if entry.ended_ns else "",
            count(entry.spans),
            size(entry.size_bytes),
        )
        for entry in entries
    ]
    console = OutputConsole()
    headers = ("recorded", "script", "status", "time", "spans", "size")
    emit(console, figures_table("run", headers, rows, console.width, drop=("script", "size", "time")))
