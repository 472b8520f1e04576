"""The Python API: ``profile`` records in this process, ``load`` opens a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from deepseek_prof.analysis.findings import Finding
    from deepseek_prof.analysis.results import TopTable
    from deepseek_prof.trace.run import Run


class LoadedRun:
    """A finished run, open for reading. Close it, or use it in a ``with`` block.

    ``spans`` and ``top`` take a query of the filter language (docs/query.md).
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._run.path

    @property
    def info(self) -> dict[str, object]:
        """What ``run.json`` says; see docs/architecture.md."""
        return dict(self._run.info)

    def spans(self, query: str | None = None) -> pa.Table:
        """The spans that match ``query`` as an Arrow table with the columns of the ``spans`` view, ordered by time.

        Raises:
            QueryError: the query does not parse.
        """
        from deepseek_prof.query import compile_query

        compiled = compile_query(query or "")
        statement = f"select * from spans where {compiled.sql} order by start_ns"  # values are parameters
        return self._run.table(statement, compiled.params)

    def top(self, by: str = "op", query: str | None = None, sort: str = "self", limit: int | None = 20) -> TopTable:
        """Time by ``op``, ``layer``, ``type``, ``phase``, ``step``, ``thread``, ``context`` or ``python``, in ns."""
        from deepseek_prof.analysis.python_functions import BY_PYTHON, python_functions
        from deepseek_prof.analysis.top import top
        from deepseek_prof.query import Table, compile_query

        condition = compile_query(query, Table.SAMPLES if by == BY_PYTHON else Table.SPANS) if query else None
        if by == BY_PYTHON:
            return python_functions(self._run, condition, sort, limit)
        return top(self._run, by, condition, sort=sort, limit=limit)

    def findings(self) -> tuple[Finding, ...]:
        """What makes the program slow, with evidence, estimated gain and what to do."""
        from deepseek_prof.analysis.findings import find
        from deepseek_prof.analysis.summary import summarize

        return find(self._run, summarize(self._run))

    def close(self) -> None:
        """Release the files."""
        self._run.close()

    def __enter__(self) -> LoadedRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(run: str | os.PathLike[str] | None = None) -> LoadedRun:
    """Open a run: a directory, a run's name, or ``latest`` (the default).

    A run whose recording was cut off is converted first; where it cannot be written, or is still being recorded, what
    is converted so far is opened, with a warning.

    Raises:
        RunNotFoundError: no such run.
        RunDamagedError: its files cannot be read.
    """
    from deepseek_prof.errors import OutputError
    from deepseek_prof.recording.recover import is_recording, needs_recovery, recover
    from deepseek_prof.trace.catalog import resolve_run
    from deepseek_prof.trace.run import Run

    path = resolve_run(os.fspath(run) if run is not None else None)
    if needs_recovery(path):
        try:
            recover(path)
        except OutputError as error:
            warnings.warn(f"{error} Opened as far as it is converted.", stacklevel=2)
    elif is_recording(path):
        warnings.warn(f"{path} is still being recorded; opened as far as it is converted.", stacklevel=2)
    return LoadedRun(Run.open(path))


class Profile:
    """What ``profile`` yields: after the block, ``run`` opens what it recorded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self) -> LoadedRun:
        """Open the recorded run; only after the block."""
        return load(self.path)


@contextmanager
def profile(output: str | os.PathLike[str] | None = None, *, record: str = "ops") -> Iterator[Profile]:
    """Record the operators that this process runs inside the block, for notebooks and tests.

    Args:
        output: the run directory to make; default below ``./.deepseek-prof/``.
        record: ``layers``, ``ops`` or ``full``.

    Raises:
        UsageError: ``record`` is none of these.
        OutputError: the directory exists or cannot be made.
        RecorderError: this process is being recorded already, or no recorder works here.
    """
    import torch  # noqa: F401  # the recorder attaches to it

    from deepseek_prof.collectors import child
    from deepseek_prof.config import RECORD_LEVELS, RunSettings
    from deepseek_prof.errors import RecorderError, UsageError
    from deepseek_prof.recording.follow import DONE_NAME
    from deepseek_prof.recording.recover import needs_recovery, recover
    from deepseek_prof.recording.run_directory import create_run_directory

    if record not in RECORD_LEVELS:
        raise UsageError(f"Cannot record {record!r}: choose one of {', '.join(RECORD_LEVELS)}.")
    settings = RunSettings(output=Path(output) if output is not None else None, record=record)
    path = create_run_directory(settings, list(getattr(sys, "orig_argv", sys.argv)))
    try:
        child.begin(path / "live", child.ChildSettings(record=record, parent_pid=os.getppid()))
    except RecorderError:
        shutil.rmtree(path)
        raise
    try:
        helper = _start_converter(path)
    except OSError:
        child.end()
        shutil.rmtree(path)
        raise
    try:
        yield Profile(path)
    finally:
        child.end()
        (path / "live" / DONE_NAME).touch()
        if helper.wait() != 0 and needs_recovery(path):
            recover(path)


def _start_converter(path: Path) -> subprocess.Popen[bytes]:
    """Conversion runs beside the user's process, not in it, so that a long block stays bounded on disk."""
    # Started in the run directory: `-m` puts the working directory first, where a user's file could be called as a
    # module that we import. What the user's PYTHONPATH names relative to theirs stays found.
    paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return subprocess.Popen(
        [sys.executable, "-m", "deepseek_prof.recording.follow", str(path), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        cwd=path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(each) for each in paths if each)},  # noqa: PTH100  # keeps links
    )
