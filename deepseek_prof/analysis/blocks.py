"""Repeated blocks of a model: names of layers with ``*`` for the index of a block that has equals beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from deepseek_prof.analysis.results import LayerRow


def block_names(names: Iterable[str]) -> dict[str, str]:
    """Every layer name with its pattern: ``encoder.3.norm`` -> ``encoder.*.norm``.

    An index is replaced where at least two modules of one list hold sub-layers of the same names. The entries of an
    ``nn.Sequential`` of plain modules stay apart, because they have no sub-layers by which to be equal.
    """
    parts = {name: name.split(".") for name in names}
    inside: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for each in parts.values():
        for cut, part in enumerate(each):
            if part.isdecimal():
                inside.setdefault(tuple(each[: cut + 1]), set()).add(tuple(each[cut + 1 :]))
    equals: dict[tuple[tuple[str, ...], frozenset[tuple[str, ...]]], int] = {}
    shape: dict[tuple[str, ...], tuple[tuple[str, ...], frozenset[tuple[str, ...]]]] = {}
    for path, below in inside.items():
        if below - {()}:
            shape[path] = (path[:-1], frozenset(below))
            equals[shape[path]] = equals.get(shape[path], 0) + 1
    repeated = {path for path, key in shape.items() if equals[key] > 1}
    return {
        name: ".".join("*" if tuple(each[: cut + 1]) in repeated else part for cut, part in enumerate(each))
        for name, each in parts.items()
    }


def merged_blocks(layers: Sequence[LayerRow]) -> list[tuple[LayerRow, int]]:
    """Layers by falling self time, the same layer of repeated blocks added up, and of how many."""
    patterns = block_names(row.name for row in layers)
    merged: dict[str, tuple[LayerRow, int]] = {}
    for row in layers:
        pattern = patterns[row.name]
        if pattern not in merged:
            merged[pattern] = (replace(row, name=pattern), 1)
            continue
        so_far, number = merged[pattern]
        added = replace(
            so_far,
            count=so_far.count + row.count,
            self_ns=so_far.self_ns + row.self_ns,
            total_ns=so_far.total_ns + row.total_ns,
            share=so_far.share + row.share,
            forward_ns=so_far.forward_ns + row.forward_ns,
            backward_ns=so_far.backward_ns + row.backward_ns,
            device_ns=so_far.device_ns + row.device_ns,
        )
        merged[pattern] = (added, number + 1)
    return sorted(merged.values(), key=lambda each: (-each[0].self_ns, each[0].name))
