"""The contexts log reader against logs written by ContextsLogWriter, whole, growing and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording.contexts_log import ContextEntry, ContextsLogReader, read_contexts_log
from deepseek_prof.recording.live_format import CONTEXTS_HEADER, ContextsLogWriter


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "contexts.log"
    writer = ContextsLogWriter(path)
    root = writer.context(0, Kind.LAYER, Phase.FORWARD, "GPT")
    writer.context(root, Kind.OP, Phase.FORWARD, "aten::mm")
    writer.signature("float32[2,3];float32[3,4]")
    writer.context(0, Kind.USER, Phase.OTHER, "übung ☂")
    writer.close()
    return path


def test_entries_come_back(log: Path) -> None:
    read = read_contexts_log(log)
    assert read.contexts == (
        ContextEntry(1, 0, Kind.LAYER, Phase.FORWARD, "GPT"),
        ContextEntry(2, 1, Kind.OP, Phase.FORWARD, "aten::mm"),
        ContextEntry(3, 0, Kind.USER, Phase.OTHER, "übung ☂"),
    )
    assert read.signatures == {1: "float32[2,3];float32[3,4]"}


def test_a_growing_log_is_read_once(log: Path) -> None:
    data = log.read_bytes()
    log.write_bytes(b"")
    reader = ContextsLogReader(log)
    contexts: list[ContextEntry] = []
    signatures: dict[int, str] = {}
    for end in range(0, len(data) + 1, 7):
        log.write_bytes(data[:end])
        new = reader.read_new()
        contexts += new.contexts
        signatures |= new.signatures
    log.write_bytes(data)
    contexts += reader.read_new().contexts
    assert [entry.id for entry in contexts] == [1, 2, 3]
    assert list(signatures) == [1]


def test_a_cut_off_last_entry_is_the_mark_of_a_kill(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-3])
    assert [entry.id for entry in read_contexts_log(log).contexts] == [1, 2]


@pytest.mark.parametrize(
    ("offset", "replacement", "message"),
    [
        (0, b"XX", "foreign header"),
        (8, b"\x09", "foreign header"),
        (CONTEXTS_HEADER.size + 1, b"\x0d", "fails its checksum"),
        (CONTEXTS_HEADER.size + 15, b"\x7f", "claims a text of"),
    ],
)
def test_damage_names_the_file(log: Path, offset: int, replacement: bytes, message: str) -> None:
    data = bytearray(log.read_bytes())
    data[offset : offset + len(replacement)] = replacement
    log.write_bytes(data)
    with pytest.raises(RunDamagedError, match=message) as raised:
        read_contexts_log(log)
    assert str(log) in str(raised.value)


def test_an_unknown_parent_or_kind_is_damage(tmp_path: Path) -> None:
    for parent, kind in ((9, Kind.OP), (0, 99)):
        path = tmp_path / "contexts.log"
        writer = ContextsLogWriter(path)
        writer.context(parent, kind, Phase.FORWARD, "x")
        writer.close()
        with pytest.raises(RunDamagedError, match="unknown form"):
            read_contexts_log(path)
