"""The layers of a run as a tree, with the figures of what is selected of each and below it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.aggregate import ContextSum, ContextTree, on_host, selected_sums
from deepseek_prof.analysis.groups import LayerGroup, group_layers, in_layers
from deepseek_prof.analysis.moved_bytes import byte_sums
from deepseek_prof.trace.run import Condition, Run

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class LayerNode:
    """A layer. Times and bytes are of what is selected; all but ``self_ns`` and ``count`` hold the sub-layers' too."""

    name: str
    parent: str | None
    depth: int
    leaf: bool
    count: int
    """Forward calls."""
    self_ns: int
    total_ns: int
    share: float
    """``total_ns`` as a fraction of all selected self time, in layers or not."""
    forward_ns: int
    backward_ns: int
    device_ns: int
    """Time of accelerators on work of the layer, by where it was launched."""
    size_bytes: int
    """Of the tensors that operators were given; 0 where it was not recorded."""


@dataclass
class _Figures:
    count: int = 0
    self_ns: int = 0
    total_ns: int = 0
    forward_ns: int = 0
    backward_ns: int = 0
    device_ns: int = 0
    size_bytes: int = 0

    def add(self, other: _Figures) -> None:
        """Take in a sub-layer's."""
        for name in ("total_ns", "forward_ns", "backward_ns", "device_ns", "size_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def layer_tree(run: Run, condition: Condition | None = None, *, with_bytes: bool = True) -> tuple[LayerNode, ...]:
    """All layers of ``run``, each followed by those below it; the figures are of what ``condition`` selects.

    A layer that is called from several others stands below the one that calls it most.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    tree = ContextTree.of(run)
    everything = selected_sums(run, tree)
    shape = group_layers(everything, tree)
    chosen = everything if condition is None else selected_sums(run, tree, condition)
    figures = _figures(chosen, shape)
    for each in byte_sums(run, tree, condition, device=False) if with_bytes else ():
        if each.spans.node.layer in figures:
            figures[each.spans.node.layer].size_bytes += each.size_bytes
    children: dict[str | None, list[str]] = {}
    for name, group in shape.items():
        children.setdefault(group.parent, []).append(name)
    ordered = _depth_first(children)
    for name, _ in reversed(ordered):
        parent = shape[name].parent
        if parent is not None:
            figures[parent].add(figures[name])
    whole_ns = sum(each.self_ns for each in on_host(chosen)) or 1
    return tuple(
        LayerNode(
            name=name,
            parent=shape[name].parent,
            depth=depth,
            leaf=name not in children,
            count=figures[name].count,
            self_ns=figures[name].self_ns,
            total_ns=figures[name].total_ns,
            share=figures[name].total_ns / whole_ns,
            forward_ns=figures[name].forward_ns,
            backward_ns=figures[name].backward_ns,
            device_ns=figures[name].device_ns,
            size_bytes=figures[name].size_bytes,
        )
        for name, depth in ordered
    )


def _figures(chosen: Sequence[ContextSum], shape: Mapping[str, LayerGroup]) -> dict[str, _Figures]:
    """The own figures of every layer, without sub-layers."""
    found = {name: _Figures() for name in shape}
    for each in in_layers(chosen):
        own = found[each.node.layer or each.node.name]
        if each.device is not None:
            own.device_ns += each.self_ns
            continue
        own.self_ns += each.self_ns
        own.total_ns += each.self_ns
        own.forward_ns += each.self_ns if each.node.phase == "forward" else 0
        own.backward_ns += each.self_ns if each.node.phase == "backward" else 0
        own.count += each.count if each.node.kind == "layer" and each.node.phase == "forward" else 0
    return found


def _depth_first(children: Mapping[str | None, Sequence[str]]) -> list[tuple[str, int]]:
    """Names with their depths, a layer before those below it, numbers in their order."""
    found: list[tuple[str, int]] = []
    waiting = [(name, 0) for name in sorted(children.get(None, ()), key=_natural, reverse=True)]
    while waiting:
        name, depth = waiting.pop()
        found.append((name, depth))
        waiting.extend((each, depth + 1) for each in sorted(children.get(name, ()), key=_natural, reverse=True))
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)]
