"""DuckDB views over the Parquet files of one run directory.

Every process's files are named outright, with the ``rank`` and ``pid`` of their folder as constants, so that neither
the run's own path nor a half-written file can change what is read. Folders without files give empty, typed tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.trace.allocation_view import ALLOCATIONS_VIEW
from deepseek_prof.trace.log_view import create_logs_view, quoted_path

if TYPE_CHECKING:
    import duckdb

_COLUMNS = {
    "spans": {
        "tid": "BIGINT",
        "step": "INTEGER",
        "start_ns": "BIGINT",
        "dur_ns": "BIGINT",
        "self_ns": "BIGINT",
        "context_id": "BIGINT",
        "device": "VARCHAR",
        "stream": "INTEGER",
        "bytes": "BIGINT",
        "flops": "BIGINT",
        "shapes": "VARCHAR",
    },
    "contexts": {
        "context_id": "BIGINT",
        "parent_id": "BIGINT",
        "depth": "INTEGER",
        "kind": "VARCHAR",
        "name": "VARCHAR",
        "type": "VARCHAR",
        "layer": "VARCHAR",
        "phase": "VARCHAR",
    },
    "sums": {
        "tid": "BIGINT",
        "context_id": "BIGINT",
        "count": "BIGINT",
        "dur_ns": "BIGINT",
        "self_ns": "BIGINT",
        "max_dur_ns": "BIGINT",
    },
    "samples": {
        "tid": "BIGINT",
        "ts_ns": "BIGINT",
        "stack": "VARCHAR",
        "step": "INTEGER",
        "context_id": "BIGINT",
    },
    "launches": {
        "step": "INTEGER",
        "launched_ns": "BIGINT",
        "start_ns": "BIGINT",
        "dur_ns": "BIGINT",
        "context_id": "BIGINT",
        "device": "VARCHAR",
        "stream": "INTEGER",
        "graph_id": "BIGINT",
        "graph_node_id": "BIGINT",
    },
    "allocations": {
        "tid": "BIGINT",
        "ts_ns": "BIGINT",
        "event": "VARCHAR",
        "device": "VARCHAR",
        "address": "BIGINT",
        "size_bytes": "BIGINT",
        "context_id": "BIGINT",
    },
    "counters": {"ts_ns": "BIGINT", "device": "VARCHAR", "name": "VARCHAR", "value": "DOUBLE", "unit": "VARCHAR"},
}
_FOLDER = re.compile(r"^(?:rank=(?P<rank>-?\d{1,9})|pid=(?P<pid>\d{1,18}))$")

_JOINED = """
CREATE VIEW spans AS SELECT s.rank, s.pid, s.tid, s.step, c.phase, c.kind, c.name, c.type, c.layer, s.start_ns,
    s.dur_ns, s.self_ns, s.context_id, s.device, s.stream, s.bytes, s.flops, s.shapes
    FROM raw_spans s JOIN process_contexts c USING (rank, pid, context_id);
CREATE VIEW sums AS SELECT s.rank, s.pid, s.tid, c.phase, c.kind, c.name, c.type, c.layer, s.context_id, s.count,
    s.dur_ns AS sum_dur_ns, s.self_ns AS sum_self_ns, s.max_dur_ns
    FROM raw_sums s JOIN process_contexts c USING (rank, pid, context_id);
CREATE VIEW contexts AS SELECT context_id, any_value(parent_id) AS parent_id, any_value(depth) AS depth,
    any_value(kind) AS kind, any_value(name) AS name, any_value(type) AS type, any_value(layer) AS layer,
    any_value(phase) AS phase FROM process_contexts GROUP BY context_id;
CREATE VIEW counters AS SELECT rank, ts_ns, device, name, value, unit FROM raw_counters;
CREATE VIEW launches AS SELECT l.rank, l.pid, l.step, c.phase, c.kind, c.name, c.type, c.layer, l.launched_ns,
    l.start_ns, l.dur_ns, l.context_id, l.device, l.stream, l.graph_id, l.graph_node_id
    FROM raw_launches l JOIN process_contexts c USING (rank, pid, context_id);
CREATE VIEW samples AS SELECT s.rank, s.pid, s.tid, s.ts_ns, s.stack, s.step, c.layer,
    CASE WHEN c.kind NOT IN ('step', 'phase', 'layer', 'python') THEN c.name END AS name, c.phase,
    CASE WHEN c.kind NOT IN ('step', 'phase', 'layer', 'python') THEN c.type END AS type, s.context_id
    FROM raw_samples s LEFT JOIN process_contexts c USING (rank, pid, context_id);
"""


def create_views(
    connection: duckdb.DuckDBPyConnection, run_dir: Path, pinned: Mapping[Path, int] | None = None
) -> None:
    """Create ``spans, contexts, launches, counters, samples, sums, allocations, logs`` for the run in ``run_dir``.

    ``raw_spans`` and ``raw_sums`` are the same without the join to the contexts (the fast way to sum), and
    ``process_contexts`` is ``contexts`` with ``rank`` and ``pid``. With ``pinned``, the Parquet files are these and are
    read through their open descriptors, so that one that is replaced or removed meanwhile is still what it was.

    Raises:
        RunDamagedError: a Parquet file is not readable or has other columns; names the file.
    """
    recorded = _create(connection, run_dir, "spans", "raw_spans", "VIEW", pinned)
    named = _create(connection, run_dir, "contexts", "process_contexts", "TABLE", pinned)
    for rank, pid in sorted(recorded - named):
        folder = f"rank={rank}/pid={pid}"
        raise RunDamagedError(
            f"{run_dir / 'contexts' / folder}.parquet is missing: without it the spans of process {pid} have no names. "
            f"Move {run_dir / 'spans' / folder} away to read the rest of the run, or record it again."
        )
    _create(connection, run_dir, "sums", "raw_sums", "TABLE", pinned)
    _create(connection, run_dir, "launches", "raw_launches", "VIEW", pinned)
    _create(connection, run_dir, "counters", "raw_counters", "VIEW", pinned)
    _create(connection, run_dir, "samples", "raw_samples", "VIEW", pinned)
    _create(connection, run_dir, "allocations", "raw_allocations", "VIEW", pinned)
    connection.execute(_JOINED)
    connection.execute(ALLOCATIONS_VIEW)
    create_logs_view(connection, run_dir)


def _create(
    connection: duckdb.DuckDBPyConnection,
    run_dir: Path,
    folder: str,
    name: str,
    what: str,
    pinned: Mapping[Path, int] | None,
) -> set[tuple[int, int]]:
    """Create one view or table; returns the (rank, pid) of which there are files."""
    import duckdb

    columns = _COLUMNS[folder]
    groups: dict[tuple[int, int], list[Path]] = {}
    for path in _parquet_files(run_dir / folder) if pinned is None else pinned:
        if pinned is None:
            _check_magic(path)
        elif run_dir / folder not in path.parents:
            continue
        groups.setdefault(_partition(path, run_dir), []).append(path)
    names = _column_names(folder)
    parts = [select_files(run_dir, folder, paths, pinned) for paths in groups.values()]
    typed = ", ".join(f'NULL::{kind} AS "{column}"' for column, kind in columns.items())
    parts = parts or [f"SELECT NULL::INTEGER AS rank, NULL::BIGINT AS pid, {typed} WHERE FALSE"]
    try:
        connection.execute(f"CREATE {what} {name} AS {' UNION ALL '.join(parts)}")
    except duckdb.Error as error:
        paths = [path for group in groups.values() for path in group]
        raise damaged_file(connection, run_dir, paths, names) or RunDamagedError(
            f"{run_dir / folder} cannot be read: {error}"
        ) from error
    return set(groups)


def select_files(run_dir: Path, folder: str, paths: Sequence[Path], pinned: Mapping[Path, int] | None = None) -> str:
    """SQL: the rows of Parquet files in ``folder`` of a run, all of one process, with its rank and pid."""
    rank, pid = _partition(paths[0], run_dir)
    names = _column_names(folder)
    return f"SELECT {rank}::INTEGER AS rank, {pid}::BIGINT AS pid, {names} FROM {_read_parquet(paths, pinned)}"


def _column_names(folder: str) -> str:
    return ", ".join(f'"{column}"' for column in _COLUMNS[folder])


def _read_parquet(paths: Sequence[Path], pinned: Mapping[Path, int] | None = None) -> str:
    named = (quoted_path(path) if pinned is None else f"'/proc/self/fd/{pinned[path]}'" for path in paths)
    return f"read_parquet([{', '.join(named)}], hive_partitioning=false)"


def _partition(path: Path, run_dir: Path) -> tuple[int, int]:
    """Rank and pid of a file, from the folders (or, for contexts, the stem) below the run directory; 0 if absent."""
    relative = path.relative_to(run_dir).with_suffix("")
    found = {"rank": 0, "pid": 0}
    for part in relative.parts:
        match = _FOLDER.match(part)
        if match:
            found |= {key: int(text) for key, text in match.groupdict().items() if text is not None}
    return found["rank"], found["pid"]


def _check_magic(path: Path) -> None:
    """Raise :class:`RunDamagedError` unless the file begins and ends as Parquet does (8 bytes read)."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0, 2)
            if file.tell() >= 12:
                file.seek(-4, 2)
            tail = file.read(4)
    except OSError as error:
        raise RunDamagedError(f"{path} cannot be read: {error.strerror}") from error
    if head != b"PAR1" or tail != b"PAR1":
        raise RunDamagedError(f"{path} is not a complete Parquet file. {_ADVICE}")


def damaged_file(
    connection: duckdb.DuckDBPyConnection, run_dir: Path, paths: list[Path], columns: str = "*"
) -> RunDamagedError | None:
    """The error that names the first of ``paths`` that cannot be read to its end; None if all can."""
    import duckdb

    for path in paths:
        try:
            connection.execute(f"SELECT {columns} FROM {_read_parquet([path])}")
            while connection.fetchmany(100_000):
                pass
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            return RunDamagedError(f"{path} is damaged ({reason}). {_ADVICE}")
    return None


def run_files(run_dir: Path) -> Iterator[tuple[str, Path]]:
    """All Parquet files of a run with the folder of the run that they are in, in a stable order."""
    for folder in _COLUMNS:
        yield from ((folder, path) for path in _parquet_files(run_dir / folder))


def _parquet_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.parquet")) if not path.name.startswith(".")]


_ADVICE = "Move that file away to read the rest of the run, or record it again."
