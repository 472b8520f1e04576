"""What a selection consists of, by the things that one filters by: operator type, phase, rank, thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree, on_host, selected_sums
from deepseek_prof.analysis.groups import is_operator
from deepseek_prof.trace.run import Condition, Run


@dataclass(frozen=True)
class FacetValue:
    """One value of a field of the query language, with what is selected of it."""

    value: str
    self_ns: int
    share: float
    """``self_ns`` as a fraction of all values' of this facet."""


@dataclass(frozen=True)
class Facets:
    """What is selected. Values of the whole run are listed, also those of which nothing is selected; times are of the
    host's threads, or of accelerators where only their work is selected."""

    spans: int
    """Without the steps' own spans; with those that ``--max-size`` removed, where the query can be asked of them."""
    self_ns: int
    types: tuple[FacetValue, ...]
    """Operators only; the largest first."""
    phases: tuple[FacetValue, ...]
    ranks: tuple[FacetValue, ...]
    threads: tuple[FacetValue, ...]
    """By thread id, of all processes."""


def count_events(run: Run, condition: Condition | None = None) -> int:
    """How many log events ``condition``, made for ``Table.LOGS``, selects (None: all).

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    return int(run.rows(f"SELECT count(*) FROM logs WHERE {where}", params)[0][0])


def facets(run: Run, condition: Condition | None = None) -> Facets:
    """The facets of the spans that ``condition`` selects (None: all).

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    tree = ContextTree.of(run)
    everything = on_host(selected_sums(run, tree))
    chosen = everything if condition is None else selected_sums(run, tree, condition)
    host = on_host(chosen)
    return Facets(
        spans=sum(each.count for each in chosen),
        self_ns=sum(each.self_ns for each in host),
        types=_values(everything, host, lambda each: each.node.type if is_operator(each.node) else None),
        phases=_values(everything, host, lambda each: each.node.phase),
        ranks=_values(everything, host, lambda each: str(each.rank)),
        threads=_values(everything, host, lambda each: str(each.tid)),
    )


def _values(
    everything: Sequence[ContextSum], chosen: Sequence[ContextSum], key: Callable[[ContextSum], str | None]
) -> tuple[FacetValue, ...]:
    times: dict[str, int] = {}
    for each in everything:
        name = key(each)
        if name is not None:
            times.setdefault(name, 0)
    for each in chosen:
        name = key(each)
        if name is not None:
            times[name] = times.get(name, 0) + each.self_ns
    whole = sum(times.values()) or 1
    ordered = sorted(times.items(), key=lambda item: (-item[1], item[0]))
    return tuple(FacetValue(name, ns, ns / whole) for name, ns in ordered)
