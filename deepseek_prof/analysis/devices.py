"""Accelerators: how long each was busy, and what started its work. Their time is never added to a host's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepseek_prof.analysis.aggregate import ContextNode, ContextSum, ContextTree, source_of
from deepseek_prof.analysis.groups import is_operator
from deepseek_prof.analysis.results import DeviceStat
from deepseek_prof.trace.run import Run

NOT_LAUNCHED = "(launched outside the recording)"
_DEVICE_KINDS = frozenset({"kernel", "memcpy", "memset"})


def launcher(each: ContextSum, tree: ContextTree) -> ContextNode | None:
    """The host's context that started a device's work: the nearest around it; None where the launch was not seen."""
    return launcher_of(each.rank, each.pid, each.node, tree)


def launcher_of(rank: int, pid: int, node: ContextNode, tree: ContextTree) -> ContextNode | None:
    """:func:`launcher` of a context of a process."""
    above = tree.ancestors(rank, pid, node)
    return next((each for each in above if each.kind not in _DEVICE_KINDS), None)


def launching_operator(each: ContextSum, tree: ContextTree) -> ContextNode | None:
    """The operator that a device's work counts for: the nearest around what started it; None where there is none."""
    node = launcher(each, tree)
    around = () if node is None else (node, *tree.ancestors(each.rank, each.pid, node))
    return next((above for above in around if is_operator(above)), None)


def device_stats(
    run: Run, where: str, params: Sequence[Any], sums: Sequence[ContextSum], wall_ns: int
) -> tuple[DeviceStat, ...]:
    """Busy times of the devices that ``sums`` name; ``where`` selects the same spans, and ``wall_ns`` is the
    time that they cover on one rank."""
    if not sums:
        return ()
    # Streams overlap: only what reaches beyond everything that started before adds to the busy time.
    rows = run.rows(
        f"WITH work AS (SELECT rank, device, start_ns, start_ns + dur_ns AS end_ns FROM {source_of(where)} "
        f"WHERE ({where}) AND device IS NOT NULL AND self_ns > 0), "
        "placed AS (SELECT *, max(end_ns) OVER (PARTITION BY rank, device ORDER BY start_ns, end_ns "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached_ns FROM work) "
        "SELECT rank, device, sum(greatest(0, end_ns - greatest(start_ns, coalesce(reached_ns, start_ns))))::BIGINT "
        "FROM placed GROUP BY rank, device ORDER BY rank, device",
        params,
    )
    found = []
    for rank, device, busy_ns in rows:
        mine = [each for each in sums if each.rank == rank and each.device == device]
        found.append(
            DeviceStat(
                rank=rank,
                device=device,
                busy_ns=busy_ns,
                # The work of the last step may end long after that step on the host.
                share=min(1.0, busy_ns / (wall_ns or 1)),
                count=sum(each.count for each in mine if each.node.kind in _DEVICE_KINDS),
                kernel_ns=sum(each.self_ns for each in mine if each.node.kind == "kernel"),
                copy_ns=sum(each.self_ns for each in mine if each.node.kind in ("memcpy", "memset")),
            )
        )
    return tuple(found)
