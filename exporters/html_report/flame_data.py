"""Flame graphs as compact data for the page: a walk through each tree, the smallest frames put together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deepseek_prof.analysis.flame import Frame, Profile
from deepseek_prof.text import clean

MAX_FRAMES = 3000
"""Of one flame graph: some 80 KB of the page, and more than a screen has columns and rows for."""
_NAME_LIMIT = 200


@dataclass
class _Node:
    frame: Frame
    total: int = 0
    count: int = 0
    children: list[int] = field(default_factory=list)


class _Table:
    """Texts by number, each kept once."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))


def flame_data(profiles: Sequence[Profile], per_step: float) -> dict[str, Any]:
    """What the page's script reads.

    ``texts`` holds all names; every profile is lists of equal length, one entry a frame, parents before children:
    ``depth``, ``name``, ``kind``, ``type`` (numbers of texts), ``total`` (in the profile's unit) and ``count``.
    ``perStep`` is what to divide by to get figures for one step.
    """
    table = _Table()
    encoded = [_encoded(profile, table) for profile in profiles]
    return {"perStep": per_step, "texts": list(table.texts), "profiles": encoded}


def _encoded(profile: Profile, table: _Table) -> dict[str, Any]:
    nodes, roots = _tree(profile)
    kept = set(heapq.nsmallest(MAX_FRAMES, range(len(nodes)), key=lambda index: (-nodes[index].total, index)))
    columns: dict[str, list[int]] = {name: [] for name in ("depth", "name", "kind", "type", "total", "count")}

    def emit(depth: int, node: _Node) -> None:
        frame = node.frame
        texts = (clean(frame.name, _NAME_LIMIT), frame.kind, frame.type)
        values = (depth, *map(table.number, texts), node.total, node.count)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)

    pending = [(0, nodes[index]) for index in reversed(_shown(roots, kept))]
    while pending:
        depth, node = pending.pop()
        emit(depth, node)
        shown = _shown(node.children, kept)
        rest = [nodes[index] for index in node.children if index not in kept]
        if rest:
            small = Frame(f"({len(rest):,} smaller)", "rest")
            pending.append((depth + 1, _Node(small, sum(each.total for each in rest))))
        pending += [(depth + 1, nodes[index]) for index in reversed(shown)]
    return {"title": profile.name, "unit": profile.unit, "whole": profile.total, **columns}


def _shown(children: Sequence[int], kept: set[int]) -> list[int]:
    return [index for index in children if index in kept]


def _tree(profile: Profile) -> tuple[list[_Node], list[int]]:
    """The frames of a profile, parents before children, and which stand at its root."""
    nodes: list[_Node] = []
    roots: list[int] = []
    around: list[int] = []
    for stack in profile.stacks:
        shared = 0
        while shared < min(len(around), len(stack.path)) and nodes[around[shared]].frame == stack.path[shared]:
            shared += 1
        del around[shared:]
        for frame in stack.path[shared:]:
            (nodes[around[-1]].children if around else roots).append(len(nodes))
            around.append(len(nodes))
            nodes.append(_Node(frame))
        for index in around:
            nodes[index].total += stack.weight
        nodes[around[-1]].count += stack.count
    return nodes, roots
