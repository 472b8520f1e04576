"""An open run: its ``run.json`` and a DuckDB connection with its views. Opening imports neither torch nor pyarrow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.trace.run_file import read_run_file
from deepseek_prof.trace.views import create_views, damaged_file, run_files

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_T = TypeVar("_T")
_MAX_THREADS = 4


class Condition(Protocol):
    """A boolean SQL expression over the columns of the ``spans`` view, with ``?`` for its parameters."""

    @property
    def sql(self) -> str:
        """The expression."""

    @property
    def params(self) -> Sequence[Any]:
        """One value for every ``?``."""


def _check_complete(path: Path, info: Mapping[str, Any]) -> None:
    """Raise RunDamagedError where ``run.json`` counts spans and not one file of them is there."""
    spans = info.get("spans")
    count = spans.get("count") if isinstance(spans, dict) else None
    if not isinstance(count, int) or count <= 0 or info.get("status") == "running":
        return
    if not any(folder in ("spans", "sums") for folder, _ in run_files(path)):
        raise RunDamagedError(f"{path / 'spans'} holds no spans, but run.json counts {count:,}: they were removed.")


class Run:
    """A run directory opened for reading.

    Use as a context manager, or call :meth:`close`. ``connection`` holds the views ``spans``, ``contexts``,
    ``counters``, ``samples``, ``sums`` and ``logs``; ``info`` is the content of ``run.json``.
    """

    def __init__(self, path: Path, info: Mapping[str, Any], connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self.info = info
        self.connection = connection
        self.has_totals = False
        """Whether the table ``context_totals`` is there: see ``analysis.totals``."""
        self._kept: dict[tuple[str, tuple[Any, ...]], list[tuple[Any, ...]]] = {}

    @classmethod
    def open(cls, path: Path, pinned: Mapping[Path, int] | None = None) -> Run:
        """Open the run directory ``path``; of its Parquet files only those that are ``pinned``, where they are.

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
            create_views(connection, path, pinned)
            _check_complete(path, info)
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
        return [each for each in self.listed("processes") if isinstance(each, dict)]

    def listed(self, key: str) -> list[Any]:
        """A list of ``run.json``; empty where the file holds anything else under ``key``."""
        found = self.info.get(key)
        return found if isinstance(found, list) else []

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query, with ``?`` parameters.

        Raises:
            RunDamagedError: a file turned out to be damaged while it was read; names the file.
        """
        return self.guarded(lambda: self.connection.execute(sql, list(params)).fetchall())

    def kept_rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """As :meth:`rows`, but read once: for what reads every span and is needed again. Do not change the list."""
        key = (sql, tuple(params))
        if key not in self._kept:
            self._kept[key] = self.rows(sql, params)
        return self._kept[key]

    def table(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """The rows of a query as an Arrow table.

        Raises:
            RunDamagedError: a file turned out to be damaged while it was read; names the file.
        """
        return self.guarded(lambda: self.connection.sql(sql, params=list(params)).to_arrow_table())

    def guarded(self, fetch: Callable[[], _T]) -> _T:
        """What ``fetch`` reads from ``connection``, or a cursor of it.

        Raises:
            RunDamagedError: a file turned out to be damaged while it was read; names the file.
        """
        import duckdb

        try:
            return fetch()
        except duckdb.InterruptException:
            raise  # who interrupted knows: no file is to be suspected
        except duckdb.Error as error:
            found = damaged_file(self.connection, self.path, [file for _, file in run_files(self.path)])
            if found is not None:
                raise found from error
            if isinstance(error, duckdb.IOException):
                reason = str(error).splitlines()[0]
                raise RunDamagedError(f"{self.path} lacks a file that it had when it was opened ({reason}).") from error
            raise

    def cursor(self) -> Run:
        """The same run for another thread: a connection of its own to the same views. Close it before this one."""
        other = Run(self.path, self.info, self.connection.cursor())
        other.has_totals = self.has_totals
        return other

    def close(self) -> None:
        """Close the connection; the run cannot be read afterwards."""
        self.connection.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
