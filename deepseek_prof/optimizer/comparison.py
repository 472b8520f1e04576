"""What a candidate changed by layer and by operator, from recordings of eager and of it in their own processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_prof.config import RunSettings
from deepseek_prof.optimizer.candidate import Candidate
from deepseek_prof.optimizer.results import Comparison
from deepseek_prof.text import duration

if TYPE_CHECKING:
    from deepseek_prof.analysis.diff import DiffRow
    from deepseek_prof.trace.run import Run

_LIMIT = 40
"""Rows kept of each table; what changed most comes first."""
_NAMED = 8
"""Layers of a compiled graph that are named."""
_GRAPHS = '"Torch-Compiled Region*"'
"""What torch records around the code of a compiled graph."""
_WORTH_NS = 2_000_000_000
_MIN_REPEATS, _MAX_REPEATS = 8, 30


def compare(
    eager: Candidate, changed: Candidate, folder: Path, call_ns: float, timeout_s: float, root: str
) -> Comparison:
    """Record both into run directories below ``folder`` and compare a call of the one with a call of the other.

    ``call_ns`` is how long a call takes, about; ``root`` the name of the module. Layers inside of compiled graphs
    record nothing: their rows have the verdict ``compiled``, and a note tells the time of the graph around them.

    Raises:
        CandidateError: a process ended or could not record.
        OutputError: the run directories cannot be made.
    """
    repeats = max(_MIN_REPEATS, min(_MAX_REPEATS, int(_WORTH_NS / max(call_ns, 1))))
    before, after = folder / "eager", folder / "changed"
    for process, path in ((eager, before), (changed, after)):
        with recording(process.argv, path) as live:
            process.ask({"do": "record", "live": str(live), "repeats": repeats}, timeout_s)
    return compare_runs(before, after, root)


def compare_runs(before: Path, after: Path, root: str) -> Comparison:
    """Compare two recordings, of calls or of training steps, by layer and by operator. Raises RunDamagedError."""
    from deepseek_prof.analysis.diff import diff
    from deepseek_prof.trace.run import Run

    with Run.open(before) as a, Run.open(after) as b:
        layers, operators = (diff(a, b, by, limit=_LIMIT) for by in ("layer", "op"))
        rows, notes = _with_graphs(layers.rows, b, root)
    return Comparison(str(before), str(after), rows, operators.rows, (*dict.fromkeys(operators.notes), *notes))


def _with_graphs(rows: Sequence[DiffRow], changed: Run, root: str) -> tuple[tuple[DiffRow, ...], tuple[str, ...]]:
    """Rows of layers with those that are part of a compiled graph told from those that are gone, and the graphs."""
    from deepseek_prof.analysis.top import top
    from deepseek_prof.query import compile_query

    found = top(changed, "layer", compile_query(f"op:{_GRAPHS}"), limit=None).rows
    times_ns = {graph.name: graph.total_ns / max(graph.count, 1) for graph in found}
    inside: dict[str, list[str]] = {name: [] for name in times_ns}
    told = []
    for row in rows:
        around = [name for name in times_ns if name == root or row.name.startswith(f"{name}.")]
        if row.verdict == "removed" and around:
            inside[max(around, key=lambda name: (name != root, len(name)))].append(row.name)
            told.append(replace(row, verdict="compiled"))
        else:
            told.append(row)
    notes = [
        f"Compiled in {name}, {duration(times_ns[name])} a graph: {_listed(layers)}."
        for name, layers in inside.items()
        if layers
    ]
    return tuple(told), tuple(notes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


@contextmanager
def recording(argv: Sequence[str], path: Path, steps: tuple[int, int] | None = None) -> Iterator[Path]:
    """A new run directory; what a process leaves in the folder that this yields becomes the run.

    ``steps``: the first and the last that the process records, if not all.

    Raises:
        OutputError: the run directory cannot be made.
    """
    from deepseek_prof.recording.converter import Converter
    from deepseek_prof.recording.run_directory import LIVE_NAME, create_run_directory
    from deepseek_prof.trace.run_file import update_run_file

    settings = RunSettings(quiet=True, output=path, steps=steps)
    create_run_directory(settings, argv, path.name)
    yield path.resolve() / LIVE_NAME
    Converter(path, max_size_bytes=settings.max_size_bytes).finish()
    update_run_file(path, status="finished", ended_ns=time.time_ns())
