"""Where a context stands in a flame graph: its path in each view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from deepseek_prof.analysis.aggregate import ContextNode, ContextSum, ContextTree
from deepseek_prof.analysis.devices import NOT_LAUNCHED, launching_operator
from deepseek_prof.analysis.groups import OUTSIDE_LAYERS, in_layers, is_operator, layer_chains
from deepseek_prof.model import Phase

_PHASES = {phase.label: phase.value for phase in Phase}


@dataclass(frozen=True)
class Frame:
    """One box. ``name`` is the program's own and may hold anything."""

    name: str
    kind: str
    """``phase``, ``layer``, ``type``, ``python``, or the kind of a context: ``op``, ``autograd``, ``kernel``, …"""
    type: str = ""
    """The operator type of what is an operator or a kernel; else empty."""


Path: TypeAlias = tuple[Frame, ...]
Paths: TypeAlias = dict[tuple[int, int, int], Path]
"""Paths by rank, pid and context, in the order in which siblings stand."""


def layer_paths(sums: Sequence[ContextSum], tree: ContextTree) -> Paths:
    """Phase, modules from the root, operators, kernel.

    The layers are those that ``top --by layer`` counts a span for: also where a backward operator was recorded outside
    of them. Phases stand in the order of a step, everything else in the order in which the recording met it.
    """
    chains = layer_chains(in_layers(sums), tree).around
    return {key: _layer_path(key, node, chains.get(key, ()), tree) for key, node in _in_order(sums, tree)}


def operator_paths(sums: Sequence[ContextSum], tree: ContextTree) -> Paths:
    """Type, operator, layer; for work of accelerators those of the operator that launched it, then its own name."""
    found: Paths = {}
    for each in sums:
        layer = Frame(each.node.layer or OUTSIDE_LAYERS, "layer")
        key = (each.rank, each.pid, each.node.context_id)
        if each.device is not None:
            operator = launching_operator(each, tree)
            own = (_type_frame(operator), frame_of(operator)) if operator else (Frame(NOT_LAUNCHED, "type"),)
            found[key] = (*own, layer, frame_of(each.node))
        elif is_operator(each.node):
            found[key] = (_type_frame(each.node), frame_of(each.node), layer)
    return found


def kernel_paths(sums: Sequence[ContextSum], tree: ContextTree) -> Paths:
    """Type of the kernel, kernel, the operator that launched it; for the sums of accelerators."""
    found: Paths = {}
    for each in sums:
        operator = launching_operator(each, tree)
        launched = Frame(NOT_LAUNCHED, "op") if operator is None else frame_of(operator)
        found[each.rank, each.pid, each.node.context_id] = (_type_frame(each.node), frame_of(each.node), launched)
    return found


def _in_order(sums: Iterable[ContextSum], tree: ContextTree) -> list[tuple[tuple[int, int, int], ContextNode]]:
    """The contexts of ``sums``, each once."""
    place = {(rank, pid, node.context_id): index for index, (rank, pid, node) in enumerate(tree.items())}
    nodes = {(each.rank, each.pid, each.node.context_id): each.node for each in sums}
    last = len(place)
    return sorted(
        nodes.items(), key=lambda item: (_PHASES.get(item[1].phase, len(_PHASES)), place.get(item[0], last), item[0])
    )


def _layer_path(key: tuple[int, int, int], node: ContextNode, chain: Sequence[str], tree: ContextTree) -> Path:
    rank, pid, _ = key
    around = [node, *tree.ancestors(rank, pid, node)]
    phase = Frame(node.phase, "phase")
    standing = [each for each in reversed(around) if each.kind not in ("phase", "step")]
    layers = list(dict.fromkeys(_layer_name(each) for each in standing if each.kind == "layer"))
    if layers == list(reversed(chain)):
        return (phase, *_placed(standing))
    inner = next((index for index, each in enumerate(around) if each.kind == "layer"), len(around))
    operators = [each for each in reversed(around[:inner]) if is_operator(each)]
    return (phase, *(Frame(name, "layer") for name in reversed(chain)), *map(frame_of, operators))


def _placed(standing: Iterable[ContextNode]) -> list[Frame]:
    """Frames of contexts that stand in one another, a layer that calls itself once."""
    found: list[Frame] = []
    for node in standing:
        frame = frame_of(node)
        if node.kind != "layer" or frame not in found:
            found.append(frame)
    return found


def _layer_name(node: ContextNode) -> str:
    return node.layer or node.name


def frame_of(node: ContextNode) -> Frame:
    """The box of a context."""
    return Frame(_layer_name(node), "layer") if node.kind == "layer" else Frame(node.name, node.kind, node.type)


def _type_frame(node: ContextNode) -> Frame:
    return Frame(node.type, "type", node.type)
