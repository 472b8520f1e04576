"""Repeated blocks of a model: names of layers with ``*`` for the index of a block that has equals beside it."""

from __future__ import annotations

from collections.abc import Iterable


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
