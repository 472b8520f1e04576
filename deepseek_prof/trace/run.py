"""An open run: its ``run.json`` and a DuckDB connection with its views. Opening imports neither torch nor pyarrow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from deepseek_prof.trace.run_file import read_run_file
from deepseek_prof.trace.views import create_views, damaged_file, span_files

if TYPE_CHECKING:
    import duckdb

_MAX_THREADS = 4


class Condition(Protocol):
    """A boolean SQL expression over the columns of the ``spans`` view, with ``?`` for its parameters."""

    @property
    def sql(self) -> str:
        """The expression."""

    @property
    def params(self) -> Sequence[Any]:
        """One value for every ``?``."""


class Run:
    """A run directory opened for reading.

    Use as a context manager, or call :meth:`close`. ``connection`` holds the views ``spans``, ``contexts``,
    ``counters``, ``samples`` and ``sums``; ``info`` is the content of ``run.json``.
    """

    def __init__(self, path: Path, info: Mapping[str, Any], connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self.info = info
        self.connection = connection

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open the run directory ``path``.

        Raises:
            RunNotFoundError: ``path`` holds no run.
            RunDamagedError: ``run.json`` or a Parquet file is damaged, or of an unknown schema version.
        """
        import duckdb

        info = read_run_file(path)
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": str(max(1, min(_MAX_THREADS, os.cpu_count() or 1))),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "temp_directory": str(Path(tempfile.gettempdir()) / f"deepseek-prof-spill-{os.getpid()}"),
            },
        )
        try:
            create_views(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(path, info, connection)

    @property
    def name(self) -> str:
        """The run's name, its folder's unless ``--name`` was given."""
        return str(self.info.get("name") or self.path.name)

    @property
    def processes(self) -> list[dict[str, Any]]:
        """The profiled processes as ``run.json`` lists them."""
        return [each for each in self.info.get("processes") or [] if isinstance(each, dict)]

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, with ``?`` parameters.

        Raises:
            RunDamagedError: a file turned out to be damaged while it was read; names the file.
        """
        import duckdb

        try:
            return self.connection.execute(sql, list(params)).fetchall()
        except duckdb.Error as error:
            found = damaged_file(self.connection, self.path, list(span_files(self.path)))
            if found is None:
                raise
            raise found from error

    def close(self) -> None:
        """Close the connection; the run cannot be read afterwards."""
        self.connection.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
