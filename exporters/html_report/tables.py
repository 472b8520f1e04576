"""The report's tables of figures: operators, operator types, kernels, and layers as a list of blocks and as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepseek_prof.analysis.blocks import merged_blocks
from deepseek_prof.analysis.results import GroupRow, LayerRow, Summary
from deepseek_prof.text import clean, count, duration, percent

NAME_LIMIT = 160
"""Characters of a name that a page shows: longer than any module's or kernel's that was written by hand."""
_MAX_ROWS = 400
_MAX_LAYERS = 1500


@dataclass(frozen=True)
class Cell:
    """A figure as text, and what its column is sorted by."""

    text: str
    value: float


@dataclass(frozen=True)
class Row:
    """``share``, at most 1, is drawn as a bar. ``depth`` counts only in a tree, where a row stands below its parent."""

    name: str
    cells: tuple[Cell, ...]
    share: float
    type: str = ""
    label: str = ""
    """The name as far as the rows around do not say it already; else empty."""
    depth: int = 0


@dataclass(frozen=True)
class Table:
    """``headers`` name the columns of ``Row.cells``."""

    key: str
    title: str
    name_header: str
    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str
    tree: bool = False


def operator_tables(summary: Summary) -> tuple[Table, ...]:
    """Operator types and operators; those that are empty are left out."""
    return _tables(
        summary, ("types", "Operator types", "type", summary.types), ("operators", "Operators", "operator", summary.ops)
    )


def kernel_tables(summary: Summary) -> tuple[Table, ...]:
    """What the accelerators ran, by type and by name."""
    return _tables(
        summary,
        ("kernel-types", "Kernel types", "type", summary.kernel_types),
        ("kernels", "Kernels and copies", "kernel", summary.kernels),
    )


def layer_tables(summary: Summary) -> tuple[Table, ...]:
    """Layers with repeated blocks added up, where there are any, and the tree of layers; nothing without layers."""
    if not summary.layers:
        return ()
    blocks = merged_blocks(summary.layers)
    device = summary.devices != ()
    headers = ("self", "share", "total", "forward", "backward", "calls") + ("device",) * device
    merged = Table(
        "blocks",
        "Layers, repeated blocks added up",
        "layer",
        headers,
        tuple(_layer_row(summary, row, f"{clean(row.name, NAME_LIMIT)} ×{number}") for row, number in blocks),
        _note(summary, len(blocks), 0),
    )
    tree = _in_tree_order(summary.layers[:_MAX_LAYERS])
    whole = Table(
        "layers",
        "Layers, as they call one another",
        "layer",
        headers,
        tuple(_layer_row(summary, row, _within(row), depth) for row, depth in tree),
        _note(summary, len(summary.layers), len(summary.layers) - len(tree)),
        tree=True,
    )
    return (merged, whole) if len(blocks) < len(summary.layers) else (whole,)


def _tables(summary: Summary, *groups: tuple[str, str, str, Sequence[GroupRow]]) -> tuple[Table, ...]:
    headers = ("self", "share", "total", "forward", "backward", "calls", "self a call")
    return tuple(
        Table(
            key,
            title,
            name_header,
            headers,
            tuple(_group_row(summary, row) for row in rows[:_MAX_ROWS]),
            _note(summary, len(rows), max(0, len(rows) - _MAX_ROWS)),
        )
        for key, title, name_header, rows in groups
        if rows
    )


def _note(summary: Summary, total: int, left_out: int) -> str:
    """How many there are, and what their figures are taken over."""
    note = f"{total:,} in all" + ("; figures are per step" if summary.window.step_count else "")
    return f"{note}; the {left_out:,} smallest are left out" if left_out else note


def _group_row(summary: Summary, row: GroupRow) -> Row:
    times = (row.self_ns, row.total_ns, row.forward_ns, row.backward_ns)
    own, total, forward, backward = (_time(ns / summary.per_step) for ns in times)
    calls = row.count / summary.per_step
    cells = (own, _share(row.share), total, forward, backward, Cell(count(calls), calls), _time(row.mean_ns))
    return Row(clean(row.name, NAME_LIMIT), cells, min(1.0, row.share), row.type)


def _layer_row(summary: Summary, row: LayerRow, label: str, depth: int = 0) -> Row:
    times = (row.self_ns, row.total_ns, row.forward_ns, row.backward_ns, row.device_ns)
    own, total, forward, backward, device = (_time(ns / summary.per_step) for ns in times)
    share = row.self_ns / (summary.self_ns or 1)
    calls = row.count / summary.per_step
    cells = [own, _share(share), total, forward, backward, Cell(count(calls), calls)]
    cells += [device] if summary.devices else []
    return Row(clean(row.name, NAME_LIMIT), tuple(cells), min(1.0, share), label=label.removesuffix(" ×1"), depth=depth)


def _within(row: LayerRow) -> str:
    """The name without that of the layer around it, which a tree shows above."""
    if row.parent is None:
        return clean(row.name, NAME_LIMIT)
    return clean(row.name.removeprefix(f"{row.parent}."), NAME_LIMIT)


def _in_tree_order(layers: Sequence[LayerRow]) -> list[tuple[LayerRow, int]]:
    """Every layer below the one around it, with its depth; siblings keep their order."""
    names = {row.name for row in layers}
    below: dict[str | None, list[LayerRow]] = {}
    for row in layers:
        below.setdefault(row.parent if row.parent in names else None, []).append(row)
    found: list[tuple[LayerRow, int]] = []
    pending = [(row, 0) for row in reversed(below.get(None, []))]
    while pending:
        row, depth = pending.pop()
        found.append((row, depth))
        pending += [(child, depth + 1) for child in reversed(below.get(row.name, []))]
    return found


def _time(ns: float) -> Cell:
    return Cell(duration(ns), round(ns))


def _share(share: float) -> Cell:
    return Cell(percent(share), round(share, 6))
