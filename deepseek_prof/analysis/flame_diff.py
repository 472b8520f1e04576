"""Two runs as flame graphs of a step: what became slower, what faster, and the two themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextNode, ContextTree, has_devices, selected_sums
from deepseek_prof.analysis.diff import DiffRow, DiffTable, compare_samples
from deepseek_prof.analysis.flame import Profile, weighted_profile
from deepseek_prof.analysis.flame_paths import Path, Paths, kernel_paths, layer_paths, operator_paths
from deepseek_prof.analysis.per_step import StepSamples, step_samples
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

VIEWS = ("layers", "ops", "kernels")

_PATHS = {"layers": layer_paths, "ops": operator_paths, "kernels": kernel_paths}
_SLOWER = frozenset({"slower", "added", "unknown"})
_FASTER = frozenset({"faster", "removed", "unknown"})


@dataclass(frozen=True)
class FlameDiff:
    """``profiles``: of the host, then of accelerators: slower, faster, before, after; those without anything are left
    out. Weights are nanoseconds a step of one rank, of the whole recording without steps."""

    profiles: tuple[Profile, ...]
    notes: tuple[str, ...]


def flame_diff(before: Run, after: Run, view: str = "layers", condition: Condition | None = None) -> FlameDiff:
    """Compare the steady steps of two runs, path by path, as :func:`deepseek_prof.analysis.diff.diff` does.

    ``slower`` and ``faster`` are weighted by the difference and hold what is established (its 95 % interval leaves out
    zero, and it is at least 5 % of what it was); with too few steps to tell, every difference.

    Raises:
        UsageError: ``view`` is not one of :data:`VIEWS`, or neither run has anything to show in it.
        RunDamagedError: a file of a run is damaged.
    """
    if view not in VIEWS:
        raise UsageError(f"Two runs cannot be compared in the view {view!r}: choose one of {', '.join(VIEWS)}.")
    runs = (before, after)
    profiles: list[Profile] = []
    notes: list[str] = []
    for device in (False, True):
        if (device and not any(map(has_devices, runs))) or (view == "kernels" and not device):
            continue
        entries: dict[Path, str] = {}
        a, b = (_samples(run, view, condition, entries, device=device) for run in runs)
        table = compare_samples(a, b, view)
        unit = "accelerator time" if device else "host time"
        profiles += _profiles(table, entries, (before.name, after.name), f"{unit}{_scope(a, b)}")
        notes += (note for note in table.notes if note not in notes)
    if not profiles:
        raise UsageError(f"Nothing to compare: neither run has anything that the view {view!r} and the query select.")
    if not any(profile.name.startswith(("slower", "faster")) for profile in profiles):
        notes.append("No difference is established: the graphs show the two runs only.")
    return FlameDiff(tuple(profiles), tuple(notes))


def _scope(a: StepSamples, b: StepSamples) -> str:
    return " a step" if a.has_steps and b.has_steps else ""


def _samples(
    run: Run, view: str, condition: Condition | None, entries: dict[Path, str], *, device: bool
) -> StepSamples:
    """The times of paths by step; ``entries`` gives every path of both runs one name."""
    tree = ContextTree.of(run)
    sums = [each for each in selected_sums(run, tree, condition) if (each.device is not None) == device]
    paths = _PATHS[view](sums, tree)
    for path in paths.values():
        entries.setdefault(path, str(len(entries)))
    return step_samples(run, "context", condition, device=device, named=_namer(paths, entries))


def _namer(paths: Paths, entries: dict[Path, str]) -> Callable[[int, int, ContextNode], str]:
    """Names contexts by their paths; those that the view does not show have the empty name."""

    def named(rank: int, pid: int, node: ContextNode) -> str:
        path = paths.get((rank, pid, node.context_id))
        return "" if path is None else entries[path]

    return named


def _profiles(table: DiffTable, entries: dict[Path, str], names: Sequence[str], unit: str) -> Iterator[Profile]:
    rows = {row.name: row for row in table.rows}
    known = [(path, rows[name]) for path, name in entries.items() if name in rows]
    weights: dict[str, Callable[[DiffRow], float]] = {
        "slower": lambda row: max(0.0, row.delta_ns) if row.verdict in _SLOWER else 0.0,
        "faster": lambda row: max(0.0, -row.delta_ns) if row.verdict in _FASTER else 0.0,
        f"before: {names[0]}": lambda row: row.before_ns or 0.0,
        f"after: {names[1]}": lambda row: row.after_ns or 0.0,
    }
    for name, weight in weights.items():
        calls = ((path, round(weight(row)), round(row.after_calls or row.before_calls or 0)) for path, row in known)
        yield from weighted_profile(f"{name} · {unit}", "nanoseconds", calls)
