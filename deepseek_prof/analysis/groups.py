"""Groups of context sums: by any key, with self and total time that count nothing twice; and layers with sub-layers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from deepseek_prof.analysis.aggregate import ContextNode, ContextSum, ContextTree

OUTSIDE_LAYERS = "(outside layers)"
FRAME_KINDS = frozenset({"step", "phase", "layer", "python"})
"""Kinds that are frames around operators, left out where operators and types are summed."""


@dataclass
class Group:
    """Running sums of one group. ``forward_ns`` and ``backward_ns`` are parts of ``total_ns`` for layers, else of
    ``self_ns``."""

    count: int = 0
    self_ns: int = 0
    total_ns: int = 0
    max_ns: int = 0
    forward_ns: int = 0
    backward_ns: int = 0
    types: dict[str, int] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The operator type with the most self time."""
        return max(self.types, key=lambda name: self.types[name]) if self.types else ""

    def add_phase(self, phase: str, ns: int) -> None:
        """Count ``ns`` for forward or backward."""
        if phase == "forward":
            self.forward_ns += ns
        elif phase == "backward":
            self.backward_ns += ns


def is_operator(node: ContextNode) -> bool:
    """Whether a context is an operator (or a user scope, a kernel, …), not a frame around some."""
    return node.kind not in FRAME_KINDS


def group_by(
    sums: Sequence[ContextSum],
    tree: ContextTree,
    key: Callable[[ContextSum], Hashable],
    node_key: Callable[[ContextNode], Hashable] | None = None,
) -> dict[Hashable, Group]:
    """Groups of ``sums``.

    ``total_ns`` adds the durations of spans that stand in no other span of their group; ``node_key`` gives a node's
    group where that can nest (None: then every duration counts, as for whole contexts).
    """
    groups: dict[Hashable, Group] = {}
    present = {(each.rank, each.pid, each.node.context_id) for each in sums}
    nested: dict[tuple[int, int, int], bool] = {}
    for each in sums:
        group = groups.setdefault(key(each), Group())
        group.count += each.count
        group.self_ns += each.self_ns
        group.max_ns = max(group.max_ns, each.max_ns)
        group.add_phase(each.node.phase, each.self_ns)
        group.types[each.node.type] = group.types.get(each.node.type, 0) + each.self_ns
        where = (each.rank, each.pid, each.node.context_id)
        if node_key is not None and where not in nested:
            mine = node_key(each.node)
            nested[where] = any(
                node_key(above) == mine and (each.rank, each.pid, above.context_id) in present
                for above in tree.ancestors(each.rank, each.pid, each.node)
            )
        if not nested.get(where, False):
            group.total_ns += each.dur_ns
    return groups


@dataclass
class LayerGroup(Group):
    """Sums of a layer: ``count`` are forward calls, ``total_ns`` adds the sub-layers' self time."""

    depth: int = 0
    parent: str | None = None
    """The layer around its most frequent call."""
    leaf: bool = True


def group_layers(sums: Iterable[ContextSum], tree: ContextTree) -> dict[str, LayerGroup]:
    """Layers by name.

    A forward span belongs to the layers around it; a backward span to its layer and to those around that layer's most
    frequent call, because nothing of the forward nesting stands around a backward operator.
    """
    selected = in_layers(sums)
    chains = layer_chains(selected, tree)
    groups: dict[str, LayerGroup] = {}
    for each in selected:
        chain = chains.around[(each.rank, each.pid, each.node.context_id)]
        own = groups.setdefault(chain[0], LayerGroup())
        own.self_ns += each.self_ns
        own.max_ns = max(own.max_ns, each.max_ns) if each.node.kind == "layer" else own.max_ns
        own.count += each.count if each.node.kind == "layer" and each.node.phase == "forward" else 0
        own.types[each.node.type] = own.types.get(each.node.type, 0) + each.self_ns
        for name in chain:
            group = groups.setdefault(name, LayerGroup())
            group.total_ns += each.self_ns
            group.add_phase(each.node.phase, each.self_ns)
    for name, group in groups.items():
        chain = chains.usual.get(name, (name,))
        group.depth = len(chain) - 1
        group.parent = chain[1] if len(chain) > 1 else None
        for above in chain[1:]:
            groups[above].leaf = False
    return groups


@dataclass(frozen=True)
class LayerChains:
    """A layer's name, then those of the layers around it, nearest first, each once."""

    around: dict[tuple[int, int, int], tuple[str, ...]]
    """By rank, pid and context: the layers that a span counts for."""
    usual: dict[str, tuple[str, ...]]
    """By layer: those around its most frequent call in forward."""


def in_layers(sums: Iterable[ContextSum]) -> list[ContextSum]:
    """The sums that belong to a layer."""
    return [each for each in sums if each.node.kind != "step" and (each.node.layer or each.node.kind == "layer")]


def layer_chains(selected: Sequence[ContextSum], tree: ContextTree) -> LayerChains:
    """The layers around each of ``selected``, as :func:`group_layers` has them; all of them belong to a layer."""
    chains: dict[tuple[int, int, int], tuple[str, ...]] = {}
    usual: dict[str, tuple[int, tuple[str, ...]]] = {}
    for each in selected:
        chain = _layer_chain(each, tree)
        chains[(each.rank, each.pid, each.node.context_id)] = chain
        calls = each.count if each.node.kind == "layer" and each.node.phase == "forward" else 0
        if calls > usual.get(chain[0], (0, ()))[0]:
            usual[chain[0]] = (calls, chain)
    around = dict(chains)
    for each in selected:
        if each.node.phase != "forward":
            key = (each.rank, each.pid, each.node.context_id)
            around[key] = tuple(dict.fromkeys((*chains[key], *usual.get(chains[key][-1], (0, ()))[1])))
    return LayerChains(around, {name: chain for name, (_, chain) in usual.items()})


def _layer_chain(each: ContextSum, tree: ContextTree) -> tuple[str, ...]:
    """The layer of a span, then the layers around it, nearest first, each once."""
    node = each.node
    around = [above for above in tree.ancestors(each.rank, each.pid, node) if above.kind == "layer"]
    names = [node.layer or node.name, *(above.layer or above.name for above in around)]
    if node.kind != "layer" and around and names[0] != names[1]:
        names = names[:1]  # attributed elsewhere than where it runs, as in a recomputed or hooked backward
    return tuple(dict.fromkeys(names))
