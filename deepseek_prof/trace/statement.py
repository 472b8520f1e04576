"""Runs one SQL statement of a user's over the views of a run, on a connection that can reach nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from deepseek_prof.errors import UsageError
from deepseek_prof.trace.log_view import quoted_path
from deepseek_prof.trace.run import Run
from deepseek_prof.trace.views import damaged_file, run_files

if TYPE_CHECKING:
    import pyarrow as pa

_T = TypeVar("_T")

BATCH_ROWS = 10_000
VIEWS = ("spans", "contexts", "launches", "counters", "samples", "sums", "allocations", "logs")
_EXPLAIN = re.compile(r"\s*explain\s+(?:analyze\s+)?", re.IGNORECASE)
_WIDE = frozenset({"HUGEINT", "UHUGEINT"})
_WITH_ZONE = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class Column:
    """A column of a result: its name, made unique, and DuckDB's name of its type."""

    name: str
    type: str


class Statement:
    """A statement that runs, and its rows, which can be read once: as Python values or, with ``arrow``, as batches.

    From its start on, the run's connection reads nothing but the run's own files, writes and loads nothing, and its
    settings cannot be changed. Close it, or use it in a ``with`` block.

    Raises, as its methods do:
        UsageError: there is not exactly one statement, it does more than read, or DuckDB refuses it; with its message.
        RunDamagedError: a file of the run is damaged.
    """

    def __init__(self, run: Run, text: str, *, arrow: bool = False) -> None:
        self._run = run
        self._connection = run.connection
        # DuckDB would hear of Ctrl-C only at its end: it works on another thread, and this one stays responsive.
        self._worker = ThreadPoolExecutor(1, "statement")
        try:
            _lock(run)
            self._check(text)
            # DuckDB has two ways to run a statement: one streams Arrow batches, the other Python values.
            self._source: Any = self._ask(lambda: (self._connection.sql if arrow else self._connection.execute)(text))
        except BaseException:
            self.close()
            raise
        described = self._source.description or []
        names = _unique([str(each[0]) for each in described])
        self.columns = tuple(Column(name, str(each[1])) for name, each in zip(names, described, strict=True))

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows as Python values, at most :data:`BATCH_ROWS` at a time."""
        for column in self.columns:
            if _WITH_ZONE in column.type:
                # DuckDB's Python package converts these by way of a package that we do not need otherwise.
                raise UsageError(f"Column {column.name!r} is a {_WITH_ZONE}. Cast it to TIMESTAMP or VARCHAR.")
        while True:
            rows: list[tuple[Any, ...]] = self._ask(lambda: self._source.fetchmany(BATCH_ROWS))
            if not rows:
                return
            yield rows

    def arrow(self) -> pa.RecordBatchReader:
        """The rows as a stream of Arrow batches. Integers of 128 bits, which sums are, come as 64 bits.

        Reading it raises UsageError where such an integer needs more than 64 bits.
        """
        import pyarrow as pa

        reader = self._ask(lambda: self._source.to_arrow_reader(BATCH_ROWS))
        wide = [column.type in _WIDE for column in self.columns]
        schema = pa.schema(
            [
                pa.field(column.name, pa.int64() if is_wide else field.type)
                for column, is_wide, field in zip(self.columns, wide, reader.schema, strict=True)
            ]
        )

        def converted() -> Iterator[pa.RecordBatch]:
            while (batch := self._ask(lambda: next(reader, None))) is not None:
                arrays = [
                    _narrowed(column, named.name) if is_wide else column
                    for column, named, is_wide in zip(batch.columns, self.columns, wide, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, converted())

    def close(self) -> None:
        """End the statement; the run stays open."""
        self._worker.shutdown()

    def __enter__(self) -> Statement:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, text: str) -> None:
        """Raise UsageError unless ``text`` is one statement that only reads."""
        import duckdb

        if not text.strip():
            raise UsageError("The statement is empty. Try: select * from spans limit 10")
        # EXPLAIN ANALYZE runs what it explains: look at that.
        prefix = _EXPLAIN.match(text)
        try:
            found = self._connection.extract_statements(text[prefix.end() :] if prefix else text)
        except (duckdb.Error, UnicodeError) as error:
            raise UsageError(f"The statement cannot be parsed.\n{error}") from error
        if len(found) != 1:
            raise UsageError(f"Give one statement, not {len(found)}.")
        kind = str(found[0].type).rpartition(".")[2].upper()
        if kind == "MULTI":
            raise UsageError("PIVOT needs its values: pivot … on … in (…). Or use: sum(…) filter (where …)")
        if kind != "SELECT":
            raise UsageError(
                f"A run is only read: {kind} is not allowed. Use SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE or "
                "SHOW, or EXPLAIN before one of these."
            )

    def _ask(self, work: Callable[[], _T]) -> _T:
        """What ``work`` returns, with DuckDB's errors as ours; Ctrl-C ends it at once."""
        import duckdb

        task = self._worker.submit(work)
        try:
            return task.result()
        except KeyboardInterrupt:
            self._connection.interrupt()
            task.exception()
            raise
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            raise UsageError(f"The statement cannot be run.\n{error}") from error
        except duckdb.PermissionException as error:
            raise UsageError(
                f"A statement reads the views of its run ({', '.join(VIEWS)}) and no file.\n{error}"
            ) from error
        except (duckdb.DataError, UnicodeError) as error:
            raise UsageError(f"The statement failed.\n{error}") from error
        except duckdb.Error as error:
            # What DuckDB says of damaged bytes is of any class.
            found = damaged_file(self._connection, self._run.path, [file for _, file in run_files(self._run.path)])
            raise found or UsageError(f"The statement failed.\n{error}") from error


def _lock(run: Run) -> None:
    """Switch off files, network, extensions and changes of settings; only the run's own files stay readable.

    Source: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
    """
    files = [path for _, path in run_files(run.path)] + sorted((run.path / "logs").rglob("*.jsonl"))
    # DuckDB checks a file's name both as the view has it, where it is a pattern, and as it was found.
    plain = ["'" + str(path.resolve()).replace("'", "''") + "'" for path in files]
    allowed = sorted({*plain, *(quoted_path(path) for path in files)})
    for setting in (
        f"allowed_paths = [{', '.join(allowed)}]",
        "python_enable_replacements = false",
        "allow_community_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        run.connection.execute(f"SET {setting}")


def _narrowed(column: pa.Array, name: str) -> pa.Array:
    import pyarrow as pa

    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UsageError(
            f"Column {name!r} holds integers of more than 64 bits. Cast it to DOUBLE or VARCHAR."
        ) from error


def _unique(names: list[str]) -> list[str]:
    """Names that occur once each, as an object of JSON needs them: ``a, a`` become ``a, a_2``."""
    found: list[str] = []
    for name in names:
        unique, number = name, 2
        while unique in found or (number > 2 and unique in names):
            unique = f"{name}_{number}"
            number += 1
        found.append(unique)
    return found
