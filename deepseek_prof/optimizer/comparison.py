"""What a candidate changed by layer and by operator, from recordings of eager and of it in their own processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from deepseek_prof.config import RunSettings
from deepseek_prof.optimizer.candidate import Candidate
from deepseek_prof.optimizer.results import Comparison

_LIMIT = 40
"""Rows kept of each table; what changed most comes first."""
_WORTH_NS = 2_000_000_000
_MIN_REPEATS, _MAX_REPEATS = 8, 30


def compare(eager: Candidate, changed: Candidate, folder: Path, call_ns: float, timeout_s: float) -> Comparison:
    """Record both into run directories below ``folder`` and compare a call of the one with a call of the other.

    ``call_ns`` is how long a call takes, about.

    Raises:
        CandidateError: a process ended or could not record.
        OutputError: the run directories cannot be made.
    """
    from deepseek_prof.analysis.diff import diff
    from deepseek_prof.trace.run import Run

    repeats = max(_MIN_REPEATS, min(_MAX_REPEATS, int(_WORTH_NS / max(call_ns, 1))))
    before, after = folder / "eager", folder / "changed"
    for process, path in ((eager, before), (changed, after)):
        _record(process, path, repeats, timeout_s)
    with Run.open(before) as a, Run.open(after) as b:
        layers, operators = (diff(a, b, by, limit=_LIMIT) for by in ("layer", "op"))
    return Comparison(str(before), str(after), layers.rows, operators.rows, tuple(dict.fromkeys(operators.notes)))


def _record(process: Candidate, path: Path, repeats: int, timeout_s: float) -> None:
    from deepseek_prof.recording.converter import Converter
    from deepseek_prof.recording.run_directory import LIVE_NAME, create_run_directory
    from deepseek_prof.trace.run_file import update_run_file

    settings = RunSettings(quiet=True, output=path)
    create_run_directory(settings, process.argv, path.name)
    message: dict[str, Any] = {"do": "record", "live": str(path.resolve() / LIVE_NAME), "repeats": repeats}
    process.ask(message, timeout_s)
    Converter(path, max_size_bytes=settings.max_size_bytes).finish()
    update_run_file(path, status="finished", ended_ns=time.time_ns())
