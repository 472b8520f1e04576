"""The contexts log on whole, cut, flipped and foreign bytes, and the tree that is made of it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording.context_table import UNKNOWN_CONTEXT_ID, ContextTable
from deepseek_prof.recording.contexts_log import ContextEntry, ContextsLog, ContextsLogReader, read_contexts_log
from deepseek_prof.recording.live_format import CONTEXTS_HEADER, ContextsLogWriter

Row: TypeAlias = tuple[int, Kind, Phase, str]
"""Parent, as the position of an earlier row counted from 1 (0: none), and what the context is."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def trees(draw: st.DrawFn, max_size: int = 25) -> list[Row]:
    rows: list[Row] = []
    names = st.one_of(st.sampled_from(("aten::mm", "fc", "Net", "")), texts)
    for number in range(draw(st.integers(0, max_size))):
        parent = draw(st.integers(0, number))
        rows.append((parent, draw(st.sampled_from(Kind)), draw(st.sampled_from(Phase)), draw(names)))
    return rows


def entries_of(rows: Sequence[Row]) -> list[ContextEntry]:
    return [ContextEntry(number, *row) for number, row in enumerate(rows, start=1)]


def written(rows: Sequence[Row], signatures: Sequence[str] = ()) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contexts.log"
        writer = ContextsLogWriter(path)
        for row in rows:
            writer.context(*row)
        for text in signatures:
            writer.signature(text)
        writer.close()
        return path.read_bytes()


def read(content: bytes) -> tuple[ContextsLog, bool]:
    """What the reader makes of these bytes, and whether it calls them damaged, in both its forms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contexts.log"
        path.write_bytes(content)
        log = ContextsLogReader(path).read_new()
        if log.damage is None:
            assert read_contexts_log(path) == log
            return log, False
        with pytest.raises(RunDamagedError, match=re.escape(str(path))):
            read_contexts_log(path)
        return log, True


@given(trees(), st.lists(texts, max_size=5))
def test_what_is_written_is_read(rows: list[Row], signatures: list[str]) -> None:
    log, damaged = read(written(rows, signatures))
    assert not damaged
    assert list(log.contexts) == entries_of(rows)
    assert log.signatures == dict(enumerate(signatures, start=1))


@given(trees(), st.data())
def test_a_cut_log_gives_the_entries_before_the_cut(rows: list[Row], data: st.DataObject) -> None:
    content = written(rows)
    size = data.draw(st.integers(0, len(content)))
    log, damaged = read(content[:size])
    assert not damaged
    whole = [number for number in range(len(rows) + 1) if len(written(rows[:number])) <= size]
    assert list(log.contexts) == entries_of(rows[: max(whole, default=0)])


@given(trees(), st.data())
def test_changed_bytes_give_fewer_entries_never_others(rows: list[Row], data: st.DataObject) -> None:
    """A burst of up to 32 bits never escapes a CRC of 32."""
    content = bytearray(written(rows, ["Float[1]"]))
    offset = data.draw(st.integers(0, len(content) - 1))
    for position, flips in enumerate(data.draw(st.binary(min_size=1, max_size=4)), start=offset):
        if position < len(content):
            content[position] ^= flips
    log, damaged = read(bytes(content))
    assert list(log.contexts) == entries_of(rows)[: len(log.contexts)]
    assert log.signatures in ({}, {1: "Float[1]"})
    if bytes(content[: CONTEXTS_HEADER.size]) != written([])[: CONTEXTS_HEADER.size]:
        assert damaged
        assert log.contexts == ()


@given(st.binary(max_size=200), st.booleans())
def test_foreign_bytes_give_no_entry(content: bytes, behind_header: bool) -> None:
    header = written([])
    log, damaged = read(header + content if behind_header else content)
    assert log.contexts == ()
    assert log.signatures == {}
    assert behind_header or damaged or header.startswith(content)


@given(trees(), st.lists(st.integers(0, 400), max_size=6))
def test_a_growing_log_gives_each_entry_once(rows: list[Row], sizes: list[int]) -> None:
    content = written(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contexts.log"
        path.touch()
        reader = ContextsLogReader(path)
        found: list[ContextEntry] = []
        for size in (*sorted(sizes), len(content)):
            path.write_bytes(content[:size])
            found += reader.read_new().contexts
    assert found == entries_of(rows)


def paths_of(rows: Sequence[Row]) -> list[tuple[tuple[Kind, Phase, str], ...]]:
    paths: list[tuple[tuple[Kind, Phase, str], ...]] = [()]
    for parent, kind, phase, text in rows:
        paths.append((*paths[parent], (kind, phase, text)))
    return paths[1:]


def ids_of(rows: Sequence[Row]) -> list[int]:
    table = ContextTable()
    table.add(entries_of(rows))
    ids, unknown = table.ids_of(np.arange(1, len(rows) + 1))
    assert unknown == 0
    found: list[int] = ids.tolist()
    return found


@given(trees())
def test_an_id_stands_for_a_path(rows: list[Row]) -> None:
    ids, paths = ids_of(rows), paths_of(rows)
    assert len(set(ids)) == len(set(paths)) == len(set(zip(ids, paths, strict=True)))
    assert all(0 < context_id < 1 << 63 for context_id in ids)


@given(trees(max_size=12), trees(max_size=12))
def test_ids_depend_on_no_order_and_no_other_context(rows: list[Row], others: list[Row]) -> None:
    """Two processes meet the same paths in other orders, among others: they share the ids."""
    expected = dict(zip(paths_of(rows), ids_of(rows), strict=True))
    shifted = [(parent + len(others) if parent else 0, kind, phase, text) for parent, kind, phase, text in rows]
    mixed = [*others, *shifted]
    found = dict(zip(paths_of(mixed), ids_of(mixed), strict=True))
    assert {path: found[path] for path in expected} == expected
    # In the other process breadth first.
    order = sorted(range(len(rows)), key=lambda number: (len(paths_of(rows)[number]), number))
    place = {number + 1: position for position, number in enumerate(order, start=1)} | {0: 0}
    reordered = [(place[rows[number][0]], *rows[number][1:]) for number in order]
    assert dict(zip(paths_of(reordered), ids_of(reordered), strict=True)) == expected


@given(trees())
def test_the_table_is_the_tree(rows: list[Row]) -> None:
    table = ContextTable()
    table.add(entries_of(rows))
    arrow = {row["context_id"]: row for row in table.to_arrow().to_pylist()}
    ids, paths = ids_of(rows), paths_of(rows)
    assert set(arrow) == set(ids)
    by_path = dict(zip(paths, ids, strict=True))
    for path, context_id in by_path.items():
        row = arrow[context_id]
        kind, phase, text = path[-1]
        assert row["depth"] == len(path) - 1
        assert row["parent_id"] == (by_path[path[:-1]] if len(path) > 1 else None)
        assert (row["kind"], row["phase"]) == (kind.label, phase.label)
        if kind is not Kind.LAYER:
            assert row["name"] == text
        layers = [(at, name) for at, (one_kind, _, name) in enumerate(path) if one_kind is Kind.LAYER]
        if not layers:
            assert row["layer"] is None
        else:
            root, innermost = layers[0][1], layers[-1][1]
            assert row["layer"] in {innermost} | ({f"{root}.{innermost}"} if len(layers) > 1 else set())


@given(trees())
def test_layers_of_several_roots_never_share_a_name(rows: list[Row]) -> None:
    table = ContextTable()
    table.add(entries_of(rows))
    arrow = {row["context_id"]: row for row in table.to_arrow().to_pylist()}
    roots_by_name: dict[str, set[str]] = {}
    for path, context_id in zip(paths_of(rows), ids_of(rows), strict=True):
        layers = [name for kind, _, name in path if kind is Kind.LAYER]
        if path[-1][0] is Kind.LAYER and len(layers) > 1 and "." not in "".join(layers) and "" not in layers:
            roots_by_name.setdefault(arrow[context_id]["name"], set()).add(layers[0])
    assert all(len(roots) == 1 for roots in roots_by_name.values())


@given(trees(), st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=10))
def test_ids_that_the_log_does_not_hold_are_told(rows: list[Row], local: list[int]) -> None:
    table = ContextTable()
    table.add(entries_of(rows))
    ids, unknown = table.ids_of(np.array(local, dtype=np.int64))
    known = ids_of(rows)
    assert ids.tolist() == [known[i - 1] if 0 < i <= len(rows) else UNKNOWN_CONTEXT_ID for i in local]
    assert unknown == sum(not 0 < i <= len(rows) for i in local)
    names = table.to_arrow()["name"].to_pylist()
    assert ("(unknown context)" in names) >= bool(unknown)
