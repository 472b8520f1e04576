"""Reads ``contexts.log``: the calling contexts and tensor signatures that a process met, in order of discovery."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording.live_format import (
    CONTEXT_ENTRY,
    CONTEXTS_HEADER,
    CONTEXTS_MAGIC,
    CONTEXTS_VERSION,
    CRC,
    TAG_CONTEXT,
    TAG_SIGNATURE,
)

MAX_TEXT_BYTES = 1 << 24
"""A longer text is taken for damage, not for an entry that a killed process did not finish."""

MAX_CONTEXT_ID = 1 << 24
"""Ids count up from 1, far below this: a larger one is damage, and would make a table of ids too large."""

_KINDS = {kind.value: kind for kind in Kind}
_PHASES = {phase.value: phase for phase in Phase}


@dataclass(frozen=True)
class ContextEntry:
    """One calling context; ``parent_id`` is 0 for a root, else the id of an earlier entry."""

    id: int
    parent_id: int
    kind: Kind
    phase: Phase
    text: str


@dataclass(frozen=True)
class ContextsLog:
    """What a ``contexts.log`` holds. ``signatures`` is by id; ``damage`` says what is wrong behind, or is None."""

    contexts: tuple[ContextEntry, ...]
    signatures: dict[int, str]
    damage: str | None = None


def read_contexts_log(path: Path) -> ContextsLog:
    """The whole log. Raises RunDamagedError naming the file if any complete entry is not ours."""
    log = ContextsLogReader(path).read_new()
    if log.damage is not None:
        raise RunDamagedError(f"{path} is damaged: {log.damage}.")
    return log


class ContextsLogReader:
    """Reads a log that may still be growing: each call returns what was added since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._known = {0}

    def read_new(self) -> ContextsLog:
        """The complete new entries up to the first damaged one. Raises OSError."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        offset = 0
        contexts: list[ContextEntry] = []
        signatures: dict[int, str] = {}
        if self._offset == 0:
            header = CONTEXTS_HEADER.pack(CONTEXTS_MAGIC, CONTEXTS_VERSION, 0)
            if len(data) < len(header) and header.startswith(data):
                return ContextsLog((), {})
            if not data.startswith(header):
                return ContextsLog((), {}, "it is not a contexts log of a known version: foreign header")
            offset = CONTEXTS_HEADER.size
        damage = None
        while offset + CONTEXT_ENTRY.size + CRC.size <= len(data):
            tag, kind, phase, _flags, entry_id, parent_id, text_len = CONTEXT_ENTRY.unpack_from(data, offset)
            text_start = offset + CONTEXT_ENTRY.size
            if text_len > MAX_TEXT_BYTES:
                damage = f"the entry at byte {self._offset + offset} claims a text of {text_len} bytes"
                break
            text_end = text_start + text_len
            if text_end + CRC.size > len(data):
                break
            if CRC.unpack_from(data, text_end)[0] != zlib.crc32(data[offset:text_end]):
                damage = f"the entry at byte {self._offset + offset} fails its checksum"
                break
            text = data[text_start:text_end].decode("utf-8", errors="replace")
            in_tree = 0 < entry_id <= MAX_CONTEXT_ID and parent_id in self._known
            if tag == TAG_CONTEXT and in_tree and kind in _KINDS and phase in _PHASES:
                contexts.append(ContextEntry(entry_id, parent_id, _KINDS[kind], _PHASES[phase], text))
                self._known.add(entry_id)
            elif tag == TAG_SIGNATURE:
                signatures[entry_id] = text
            else:
                damage = f"the entry at byte {self._offset + offset} is of an unknown form"
                break
            offset = text_end + CRC.size
        self._offset += offset
        return ContextsLog(tuple(contexts), signatures, damage)
