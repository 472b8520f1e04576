"""Where tensor memory goes: what was allocated, held and held at the peak, by role, layer, operator, type and phase.

From the ``allocations`` view, which ``--record full`` fills. Ranks and processes have memory of their own: every figure
is of one process and device, the one with the highest peak unless the query chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.series import Series
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

KEYS = {"role": "role", "layer": "layer", "op": "name", "type": "type", "phase": "phase", "step": "step"}
"""What memory can be summed by, and the column of the view that holds it."""
_PIECES = 10
_STRETCHES, _SERIES = 1000, 4
_LAST_NS = (1 << 63) - 1


@dataclass(frozen=True)
class MemoryRow:
    """Memory of one role, layer, operator, …: sizes in bytes.

    ``peak_bytes`` is the most that its pieces held at once, ``at_peak_bytes`` what they held at the peak of all,
    ``kept_bytes`` what was never given back.
    """

    name: str
    count: int
    allocated_bytes: int
    peak_bytes: int
    at_peak_bytes: int
    kept_bytes: int


@dataclass(frozen=True)
class Piece:
    """Pieces of memory of one origin and size that were alive at the peak."""

    layer: str
    op: str
    role: str
    count: int
    size_bytes: int


@dataclass(frozen=True)
class MemoryProfile:
    """The tensor memory of one process and device; sizes in bytes, times in nanoseconds since the Unix epoch."""

    rank: int
    pid: int
    device: str
    processes: int
    """How many pairs of process and device the query selects; this one has the highest peak."""
    count: int
    allocated_bytes: int
    peak_bytes: int
    peak_ns: int
    peak_step: int | None
    peak_phase: str
    peak_layer: str
    kept_bytes: int
    by: str
    roles: tuple[MemoryRow, ...]
    rows: tuple[MemoryRow, ...]
    groups: int
    """How many rows there are without the limit."""
    pieces: tuple[Piece, ...]


def has_allocations(run: Run) -> bool:
    """Whether allocations were recorded."""
    return bool(run.rows("SELECT 1 FROM raw_allocations LIMIT 1"))


def memory_profile(
    run: Run, by: str = "layer", condition: Condition | None = None, limit: int | None = None
) -> MemoryProfile | None:
    """Memory by ``by``, one of :data:`KEYS`, of what ``condition`` on ``allocations`` selects; None if that is nothing.

    Raises:
        UsageError: the run holds no allocations, or ``by`` is unknown.
        RunDamagedError: a file of the run is damaged.
    """
    if by not in KEYS:
        raise UsageError(f"Memory cannot be summed by {by!r}: choose one of {', '.join(KEYS)}.")
    if not has_allocations(run):
        raise UsageError(
            f"{run.name} holds no allocations: record them with `deepseek-prof run --record full` and the native "
            "recorder."
        )
    where, params = ("TRUE", ()) if condition is None else (condition.sql, tuple(condition.params))
    # Read once: the view pairs every allocation with its release.
    run.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE memory_pieces AS SELECT * FROM allocations WHERE {where}", list(params)
    )
    places = run.rows(
        f"SELECT rank, pid, device, max(held), arg_max(at_ns, held) FROM ({_held('rank, pid, device')}) "
        "GROUP BY rank, pid, device ORDER BY 4 DESC, 1, 2, 3"
    )
    if not places:
        return None
    rank, pid, device, peak_bytes, peak_ns = places[0]
    here = (rank, pid, device)
    run.connection.execute("DELETE FROM memory_pieces WHERE (rank, pid, device) <> (?, ?, ?)", here)
    ((count, allocated, kept),) = run.rows(
        "SELECT count(*), sum(size_bytes)::BIGINT, coalesce(sum(size_bytes) FILTER (end_ns IS NULL), 0)::BIGINT "
        "FROM memory_pieces"
    )
    ((step, phase, layer),) = run.rows(
        "SELECT step, coalesce(phase, ''), coalesce(layer, '') FROM memory_pieces WHERE start_ns <= ? "
        "ORDER BY start_ns DESC LIMIT 1",
        (peak_ns,),
    )
    rows = _rows(run, KEYS[by], peak_ns)
    return MemoryProfile(
        rank=rank,
        pid=pid,
        device=device,
        processes=len(places),
        count=count,
        allocated_bytes=allocated,
        peak_bytes=int(peak_bytes),
        peak_ns=peak_ns,
        peak_step=step,
        peak_phase=phase,
        peak_layer=layer,
        kept_bytes=kept,
        by=by,
        roles=tuple(_rows(run, "role", peak_ns)),
        rows=tuple(rows[:limit] if limit else rows),
        groups=len(rows),
        pieces=_pieces_at(run, peak_ns),
    )


def held_memory(run: Run) -> tuple[Series, ...]:
    """Tensor memory over time, of the processes and devices that held most; the highest moment of each stretch counts.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    found = sorted(held_over_time(run, _STRETCHES), key=lambda each: -max(each.held_bytes))[:_SERIES]
    return tuple(
        Series(
            f"tensors {each.device}" + (f" {each.pid}" if len(found) > 1 else ""),
            "bytes",
            tuple(float(held) for held in each.held_bytes),
        )
        for each in found
    )


@dataclass(frozen=True)
class HeldMemory:
    """Tensor memory of one process and device: at some moments, in nanoseconds since the Unix epoch, bytes held."""

    rank: int
    pid: int
    device: str
    ts_ns: tuple[int, ...]
    held_bytes: tuple[int, ...]


def held_over_time(run: Run, stretches: int, *, begin_ns: int = 0, end_ns: int = _LAST_NS) -> list[HeldMemory]:
    """Of each process and device the highest moment in each of so many equal stretches of time, where it changed.

    The stretches divide the changes between ``begin_ns`` and ``end_ns``, on the Unix epoch; by default all. What was
    held at ``begin_ns`` already counts as a change then, and the very last change is a stretch of its own.
    Empty for a run without allocations.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    keys = "rank, pid, device"
    rows = run.rows(
        "WITH alive AS (SELECT * REPLACE (greatest(start_ns, ?) AS start_ns) FROM allocations "
        "WHERE start_ns <= ? AND (end_ns IS NULL OR end_ns > ?)), "
        f"held AS (SELECT * FROM ({_held(keys, 'alive')}) WHERE at_ns <= ?), "
        "life AS (SELECT min(at_ns) AS first_ns, greatest(max(at_ns) - min(at_ns), 1) AS dur_ns FROM held), "
        f"highest AS (SELECT {keys}, arg_max(at_ns, held) AS at_ns, max(held)::BIGINT AS held FROM held, life "
        f"GROUP BY {keys}, (at_ns - first_ns) * ? // dur_ns) "
        f"SELECT {keys}, list(at_ns ORDER BY at_ns), list(held ORDER BY at_ns) FROM highest "
        f"GROUP BY {keys} ORDER BY {keys}",
        (begin_ns, end_ns, begin_ns, end_ns, stretches),
    )
    return [HeldMemory(rank, pid, device, tuple(ts), tuple(held)) for rank, pid, device, ts, held in rows]


def _held(keys: str, pieces: str = "memory_pieces") -> str:
    """SQL for the bytes held by ``keys`` after every change; releases of one moment come first."""
    return (
        f"SELECT {keys}, at_ns, sum(change) OVER (PARTITION BY {keys} ORDER BY at_ns, change) AS held FROM "
        f"(SELECT {keys}, start_ns AS at_ns, size_bytes AS change FROM {pieces} UNION ALL "
        f"SELECT {keys}, end_ns, -size_bytes FROM {pieces} WHERE end_ns IS NOT NULL)"
    )


def _rows(run: Run, column: str, peak_ns: int) -> list[MemoryRow]:
    found: Sequence[tuple[str, int, int, int, int, int]] = run.rows(
        f"WITH peaks AS (SELECT {column}, max(held)::BIGINT AS peak FROM ({_held(column)}) GROUP BY 1) "
        f"SELECT coalesce(m.{column}::VARCHAR, ''), count(*), sum(size_bytes)::BIGINT, any_value(peak), "
        "coalesce(sum(size_bytes) FILTER (start_ns <= ? AND (end_ns IS NULL OR end_ns > ?)), 0)::BIGINT AS at_peak, "
        "coalesce(sum(size_bytes) FILTER (end_ns IS NULL), 0)::BIGINT "
        f"FROM memory_pieces m JOIN peaks p ON m.{column} IS NOT DISTINCT FROM p.{column} "
        "GROUP BY 1 ORDER BY at_peak DESC, 4 DESC, 1",
        (peak_ns, peak_ns),
    )
    return [MemoryRow(*row) for row in found]


def _pieces_at(run: Run, peak_ns: int) -> tuple[Piece, ...]:
    found = run.rows(
        "SELECT coalesce(layer, ''), coalesce(name, ''), role, count(*), sum(size_bytes)::BIGINT FROM memory_pieces "
        "WHERE start_ns <= ? AND (end_ns IS NULL OR end_ns > ?) GROUP BY 1, 2, 3, size_bytes "
        "ORDER BY 5 DESC, 1, 2, 3 LIMIT ?",
        (peak_ns, peak_ns, _PIECES),
    )
    return tuple(Piece(*row) for row in found)
