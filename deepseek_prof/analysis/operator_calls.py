"""One operator: the layers that call it, the shapes it is called with, its slowest calls, and its spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepseek_prof.analysis.aggregate import ContextTree, selected_sums
from deepseek_prof.analysis.groups import is_operator
from deepseek_prof.trace.run import Condition, Run

TREND_BINS = 8
_LIMIT = 50
_OUTSIDE = "(outside layers)"


@dataclass(frozen=True)
class Caller:
    """A layer that calls the operator, and in which phase."""

    layer: str
    phase: str
    count: int
    self_ns: int
    total_ns: int


@dataclass(frozen=True)
class ShapeSum:
    """Calls with the same shapes, where they were recorded."""

    shapes: str
    count: int
    self_ns: int


@dataclass(frozen=True)
class Call:
    """One call of an operator: where it ran, and when."""

    rank: int
    pid: int
    tid: int
    step: int | None
    start_ns: int
    dur_ns: int
    self_ns: int
    layer: str | None
    phase: str


@dataclass(frozen=True)
class OperatorCalls:
    """What is selected of one operator, each list with the largest first."""

    name: str
    callers: tuple[Caller, ...]
    shapes: tuple[ShapeSum, ...]
    slowest: tuple[Call, ...]


@dataclass(frozen=True)
class Spread:
    """How the self time of an operator's calls is spread."""

    p99_ns: int
    trend: tuple[int, ...]
    """Self time in :data:`TREND_BINS` equal parts of the steps; empty without steps."""


@dataclass(frozen=True)
class _Named:
    sql: str
    params: tuple[Any, ...]


def operator_calls(run: Run, name: str, condition: Condition | None = None) -> OperatorCalls:
    """The calls of operator ``name`` among what ``condition`` selects.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    where, params = ("TRUE", ()) if condition is None else (condition.sql, tuple(condition.params))
    named = _Named(f"({where}) AND name = ?", (*params, name))
    callers: dict[tuple[str, str], list[int]] = {}
    for each in selected_sums(run, ContextTree.of(run), named):
        sums = callers.setdefault((each.node.layer or _OUTSIDE, each.node.phase), [0, 0, 0])
        for index, figure in enumerate((each.count, each.self_ns, each.dur_ns)):
            sums[index] += figure
    shapes = run.rows(
        f"SELECT shapes, count(*), sum(self_ns)::BIGINT FROM spans WHERE {named.sql} AND shapes IS NOT NULL "
        f"GROUP BY shapes ORDER BY 3 DESC, 1 LIMIT {_LIMIT}",
        named.params,
    )
    slowest = run.rows(
        "SELECT rank, pid, tid, step, start_ns, dur_ns, self_ns, layer, phase FROM spans "
        f"WHERE {named.sql} ORDER BY dur_ns DESC, start_ns LIMIT {_LIMIT}",
        named.params,
    )
    found = [Caller(layer, phase, *sums) for (layer, phase), sums in callers.items()]
    return OperatorCalls(
        name,
        tuple(sorted(found, key=lambda each: (-each.self_ns, each.layer, each.phase))),
        tuple(ShapeSum(*row) for row in shapes),
        tuple(Call(*row) for row in slowest),
    )


def operator_spreads(run: Run, condition: Condition | None = None) -> dict[str, Spread]:
    """The spread of every operator's calls among what ``condition`` selects; exact, so it reads every span.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    where, params = ("TRUE", []) if condition is None else (condition.sql, list(condition.params))
    names = {
        (rank, pid, node.context_id): node.name for rank, pid, node in ContextTree.of(run).items() if is_operator(node)
    }
    p99 = run.rows(f"SELECT name, quantile_disc(self_ns, 0.99)::BIGINT FROM spans WHERE {where} GROUP BY name", params)
    ends = run.kept_rows("SELECT min(step), max(step) FROM raw_spans")[0]
    trends: dict[str, list[int]] = {}
    if ends[0] is not None:
        per_bin = max(1, -(-(ends[1] - ends[0] + 1) // TREND_BINS))
        rows = run.rows(
            f"SELECT rank, pid, context_id, ((step - ?) // ?)::INTEGER, sum(self_ns)::BIGINT FROM spans "
            f"WHERE step IS NOT NULL AND ({where}) GROUP BY ALL",
            [ends[0], per_bin, *params],
        )
        for rank, pid, context_id, index, ns in rows:
            if (rank, pid, context_id) in names:
                trends.setdefault(names[rank, pid, context_id], [0] * TREND_BINS)[index] += ns
    return {name: Spread(p99_ns, tuple(trends.get(name, ()))) for name, p99_ns in p99}
