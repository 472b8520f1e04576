"""The ``logs`` view: events of the program and of the recording, from JSON Lines files.

One line is one event. Lines that are cut off or are no event are left out: an event that cannot be read hides no other.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from deepseek_prof.errors import RunDamagedError

if TYPE_CHECKING:
    import duckdb

MAX_LINE_BYTES = 1 << 20
"""Longer lines are not ours: writers cut what is long in an event."""

LOG_COLUMNS = {
    "ts_ns": "BIGINT",
    "level": "VARCHAR",
    "event": "VARCHAR",
    "step": "INTEGER",
    "phase": "VARCHAR",
    "layer": "VARCHAR",
    "op": "VARCHAR",
    "fields": "JSON",
}
"""Keys of a line; ``rank`` comes from the file's folder."""

_RANK = re.compile(r"rank=(\d{1,9})", re.ASCII)
_LIVE = re.compile(r"\d{1,10}-[0-9a-f]{1,16}", re.ASCII)


def create_logs_view(connection: duckdb.DuckDBPyConnection, run_dir: Path) -> None:
    """Create ``logs``: ``ts_ns, rank, level, event, step, phase, layer, op, fields``.

    Events of a run that is being recorded are those that are there now.

    Raises:
        RunDamagedError: a file cannot be read at all.
    """
    import duckdb

    live = _read_now(run_dir)  # before the parts: what moves from here to there meanwhile shows twice, never not at all
    names = ", ".join(LOG_COLUMNS)
    typed = ", ".join(f"{name} {kind}" for name, kind in LOG_COLUMNS.items())
    connection.execute(f"CREATE TABLE live_lines(rank INTEGER, {typed})")
    sources = ["SELECT * FROM live_lines"]
    for rank, paths in sorted(_part_files(run_dir).items()):
        read = _read_json(f"[{', '.join(quoted_path(path) for path in paths)}]")
        sources.append(f"SELECT {rank}::INTEGER AS rank, {names} FROM {read} WHERE ts_ns IS NOT NULL")
    try:
        if live:
            places = ", ".join("?" for _ in LOG_COLUMNS)
            connection.executemany(f"INSERT INTO live_lines VALUES (?, {places})", live)
        connection.execute(
            f"CREATE VIEW logs AS SELECT ts_ns, rank, level, event, step, phase, layer, op, fields "
            f"FROM ({' UNION ALL BY NAME '.join(sources)})"
        )
    except duckdb.Error as error:
        raise RunDamagedError(f"{run_dir / 'logs'} cannot be read: {error}") from error


def live_event_files(run_dir: Path) -> list[Path]:
    """The event files that processes are writing, oldest first for each process."""
    return [path for path in sorted((run_dir / "live").glob("*/events-*.jsonl")) if _LIVE.fullmatch(path.parent.name)]


def parse_line(line: bytes | str) -> dict[str, object] | None:
    """An event as a mapping from the columns of the view, without ``rank``; None for a line that is no event."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not _is_int64(data.get("ts_ns")):
        return None
    fields = data.get("fields")
    row: dict[str, object] = {"ts_ns": data["ts_ns"], "fields": fields if isinstance(fields, dict) else {}}
    row["step"] = data.get("step") if _is_int32(data.get("step")) else None
    for name in ("level", "event", "phase", "layer", "op"):
        row[name] = data.get(name) if isinstance(data.get(name), str) else None
    return row


def rank_of_live(directory: Path) -> int:
    """The rank that a process has told so far; 0 for none."""
    try:
        rank = json.loads((directory / "process.json").read_bytes()).get("rank")
    except (OSError, ValueError, AttributeError, RecursionError):
        return 0  # not written yet, or cut off: the converter will know better
    return rank if _is_int32(rank) and isinstance(rank, int) and rank >= 0 else 0


def _read_now(run_dir: Path) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for path in live_event_files(run_dir):
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            continue  # converted just now: it is among the parts
        except OSError as error:
            raise RunDamagedError(f"{path} cannot be read: {error.strerror}.") from error
        rank = rank_of_live(path.parent)
        for line in lines[:-1]:
            row = parse_line(line)
            if row is not None:
                row["fields"] = json.dumps(row["fields"], ensure_ascii=False)
                rows.append((rank, *(row[name] for name in LOG_COLUMNS)))
    return rows


def _part_files(run_dir: Path) -> dict[int, list[Path]]:
    """By rank, the files that conversion has written."""
    found: dict[int, list[Path]] = {}
    for path in sorted((run_dir / "logs").glob("rank=*/pid=*/part-*.jsonl")):
        match = _RANK.fullmatch(path.parent.parent.name)
        if match is not None:
            found.setdefault(int(match[1]), []).append(path)
    return found


def _read_json(paths: str) -> str:
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in LOG_COLUMNS.items())
    return (
        f"read_json({paths}, format='newline_delimited', columns={{{columns}}}, ignore_errors=true, "
        f"compression='uncompressed', hive_partitioning=false, maximum_object_size={MAX_LINE_BYTES})"
    )


def quoted_path(path: Path) -> str:
    """A path as an SQL string in which DuckDB sees no glob."""
    escaped = "".join(f"[{char}]" if char in "[*?" else char for char in str(path.resolve()))
    return "'" + escaped.replace("'", "''") + "'"


def _is_int64(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


def _is_int32(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31
