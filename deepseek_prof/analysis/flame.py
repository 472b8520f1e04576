"""Flame graphs: what was selected of a run as weighted stacks, which add up to what ``top`` says of the same selection.

::

    layers    phase → module → … → operator → kernel
    ops       operator type → operator → layer
    python    Python frames → layer → operator
    kernels   kernel type → kernel → operator that launched it; and phase → module → … → kernel
    memory    as layers, weighted by the bytes of the tensors that innermost operators were given

Time of the host's threads and time of accelerators never stand in one profile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree, selected_sums
from deepseek_prof.analysis.flame_paths import Frame, Path, Paths, kernel_paths, layer_paths, operator_paths
from deepseek_prof.analysis.moved_bytes import byte_sums
from deepseek_prof.analysis.stacks import period_ns, stack_sums
from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run

VIEWS = ("layers", "ops", "python", "kernels", "memory")
"""Those that sum; a timeline is in :mod:`deepseek_prof.analysis.timeline`. The most telling comes first."""

__all__ = ["VIEWS", "Frame", "Profile", "Stack", "all_profiles", "profiles", "weighted_profile"]

_NOTHING = {
    "layers": "Nothing selected: no span of this run fits the query.",
    "ops": "No operators: this run has none, or the query selects none of them.",
    "python": "No Python stacks: record with 'deepseek-prof run --python-stacks'.",
    "kernels": "No work of accelerators: this run has none, or the query selects none of it.",
    "memory": "No bytes: record with 'deepseek-prof run --record full', or widen the query.",
}


@dataclass(frozen=True)
class Stack:
    """A path and what is its own: what stands in deeper stacks is not counted here."""

    path: Path
    """Outermost first, never empty."""
    weight: int
    """In the profile's unit, more than 0."""
    count: int
    """Spans; samples in the view ``python``."""


@dataclass(frozen=True)
class Profile:
    """A flame graph. Its stacks stand in the order of a walk through the tree, so that equal beginnings adjoin."""

    name: str
    unit: str
    """``nanoseconds`` or ``bytes``."""
    stacks: tuple[Stack, ...]

    @property
    def total(self) -> int:
        """The sum of all weights."""
        return sum(stack.weight for stack in self.stacks)


def profiles(
    run: Run, view: str = "layers", condition: Condition | None = None, samples: Condition | None = None
) -> tuple[Profile, ...]:
    """The flame graphs of one view; with accelerators, one for the host and one for them.

    ``samples`` is the query as a condition on samples, for the view ``python``; None: all.

    Raises:
        UsageError: ``view`` is not one of :data:`VIEWS`, or there is nothing that it could show.
        RunDamagedError: a file of the run is damaged.
    """
    if view not in VIEWS:
        raise UsageError(f"There is no view {view!r}: choose one of {', '.join(VIEWS)}.")
    found = _views(_Selected(run, condition), samples)[view]()
    if not found:
        raise _nothing(run, view, condition)
    return found


def all_profiles(
    run: Run, condition: Condition | None = None, samples: Condition | None = None, *, python: bool = True
) -> tuple[Profile, ...]:
    """The flame graphs of all views that the selection has anything for; ``python`` False leaves that view out.

    Raises:
        UsageError: nothing is selected.
        RunDamagedError: a file of the run is damaged.
    """
    views = _views(_Selected(run, condition), samples)
    found = tuple(each for view in VIEWS if python or view != "python" for each in views[view]())
    if not found:
        raise _nothing(run, "layers", condition)
    return found


def _nothing(run: Run, view: str, condition: Condition | None) -> UsageError:
    if view == "layers" and condition is None:
        return UsageError("Nothing to show: this run holds no spans.")
    if view == "python" and period_ns(run):
        return UsageError("No Python stacks: none was sampled before the program ended, or the query selects none.")
    return UsageError(_NOTHING[view])


def weighted_profile(
    name: str, unit: str, entries: Iterable[tuple[Path, int, int]], *, heaviest_first: bool = False
) -> tuple[Profile, ...]:
    """One profile of (path, weight, count), equal paths added; none where all weights are 0.

    Siblings stand in the order in which they come, or the heaviest first.
    """
    root = _Node()
    for path, weight, count in entries:
        if weight > 0:
            root.add(path, weight, count)
    stacks = tuple(root.stacks(heaviest_first=heaviest_first))
    return (Profile(name, unit, stacks),) if stacks else ()


class _Selected:
    """Sums of what a condition selects, each read once, whatever number of views shows it."""

    def __init__(self, run: Run, condition: Condition | None) -> None:
        self.run = run
        self.condition = condition

    @cached_property
    def tree(self) -> ContextTree:
        return ContextTree.of(self.run)

    @cached_property
    def sums(self) -> list[ContextSum]:
        return selected_sums(self.run, self.tree, self.condition)

    @cached_property
    def host(self) -> list[ContextSum]:
        return [each for each in self.sums if each.device is None]

    @cached_property
    def device(self) -> list[ContextSum]:
        return [each for each in self.sums if each.device is not None]

    def times(
        self, name: str, sums: list[ContextSum], paths: Callable[[list[ContextSum], ContextTree], Paths], *, sort: bool
    ) -> tuple[Profile, ...]:
        """The profile of self times."""
        found = paths(sums, self.tree)
        weights = {key: [0, 0] for key in found}
        for each in sums:
            key = (each.rank, each.pid, each.node.context_id)
            if key in weights:
                weights[key][0] += each.self_ns
                weights[key][1] += each.count
        entries = ((path, weights[key][0], weights[key][1]) for key, path in found.items())
        return weighted_profile(name, "nanoseconds", entries, heaviest_first=sort)


def _views(selected: _Selected, samples: Condition | None) -> dict[str, Callable[[], tuple[Profile, ...]]]:
    """The profiles of every view, made when they are called for."""
    return {
        "layers": lambda: (
            *selected.times("layers · host time", selected.host, layer_paths, sort=False),
            *selected.times("layers · accelerator time", selected.device, layer_paths, sort=False),
        ),
        "ops": lambda: (
            *selected.times("operators · host time", selected.host, operator_paths, sort=True),
            *selected.times("operators · accelerator time", selected.device, operator_paths, sort=True),
        ),
        "python": lambda: _python(selected.run, samples),
        "kernels": lambda: (
            *selected.times("kernels by type · accelerator time", selected.device, kernel_paths, sort=True),
            *selected.times("kernels by layer · accelerator time", selected.device, _kernels_in_layers, sort=False),
        ),
        "memory": lambda: _memory(selected),
    }


def _kernels_in_layers(sums: list[ContextSum], tree: ContextTree) -> Paths:
    """As :func:`layer_paths`, without what launched the kernels."""
    device_kinds = ("phase", "layer", "kernel", "memcpy", "memset")
    return {
        key: tuple(frame for frame in path if frame.kind in device_kinds)
        for key, path in layer_paths(sums, tree).items()
    }


def _python(run: Run, samples: Condition | None) -> tuple[Profile, ...]:
    entries = []
    for each in stack_sums(run, samples) if period_ns(run) else ():
        path = [Frame(text, "python") for text in each.frames] or [Frame("(no frames)", "python")]
        path += [Frame(each.layer, "layer")] if each.layer else []
        path += [Frame(each.op, "op")] if each.op else []
        entries.append((tuple(path), each.ns, each.count))
    return weighted_profile("Python · sampled wall time", "nanoseconds", entries, heaviest_first=True)


def _memory(selected: _Selected) -> tuple[Profile, ...]:
    found: list[Profile] = []
    for name, device in (("memory · tensors given to operators", False), ("memory · copies of accelerators", True)):
        sums = byte_sums(selected.run, selected.tree, selected.condition, device=device)
        paths = layer_paths([each.spans for each in sums], selected.tree)
        weights = {(each.spans.rank, each.spans.pid, each.spans.node.context_id): each for each in sums}
        entries = ((path, weights[key].size_bytes, weights[key].spans.count) for key, path in paths.items())
        found += weighted_profile(name, "bytes", entries)
    return tuple(found)


@dataclass
class _Node:
    """A frame below the frames around it."""

    weight: int = 0
    count: int = 0
    total: int = 0
    children: dict[Frame, _Node] = field(default_factory=dict)

    def add(self, path: Path, weight: int, count: int) -> None:
        """Count a stack, from here downwards."""
        node = self
        node.total += weight
        for frame in path:
            node = node.children.setdefault(frame, _Node())
            node.total += weight
        node.weight += weight
        node.count += count

    def stacks(self, *, heaviest_first: bool) -> Iterable[Stack]:
        """All stacks; without recursion, because Python's stacks may be deeper than that may be."""
        pending: list[tuple[Path, _Node]] = [((), self)]
        while pending:
            path, node = pending.pop()
            if node.weight:
                yield Stack(path, node.weight, node.count)
            children = list(node.children.items())
            if heaviest_first:
                children.sort(key=lambda item: (-item[1].total, item[0].name))
            pending.extend(((*path, frame), child) for frame, child in reversed(children))
