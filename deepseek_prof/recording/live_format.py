"""The live format: the layout of segment files and ``contexts.log``, and writers of both in plain Python.

Standard library only: the writers also run inside profiled programs. The format is described in
``docs/architecture.md``; the native recorder writes the same bytes.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import zlib
from enum import IntEnum
from pathlib import Path

SEGMENT_MAGIC = b"DSPSEG1\0"
SEGMENT_VERSION = 1
SEGMENT_HEADER = struct.Struct("<8s4I3QI12x")
"""magic, version, header size, record size, pid, tid, created_monotonic_ns, dropped_spans, state."""
RECORD = struct.Struct("<Q4I")
"""start_ns, dur_ns, self_ns, context, tail."""
STATE_OFFSET = 48


class MemoryEvent(IntEnum):
    """What an allocation record says of its address; the values of collectors/native/memory.h."""

    ALLOCATED = 0
    FREED = 1
    PARAMETER = 2
    BUFFER = 3
    GRADIENT = 4
    OPTIMIZER = 5

    @property
    def label(self) -> str:
        """The lower-case text used in Parquet."""
        return self.name.lower()


class SegmentState(IntEnum):
    """Who disposes of a segment file next."""

    WRITING = 0
    CLOSED = 1
    """For good: the reader deletes the file once it has converted it."""
    LENT = 2
    """Still mapped by the writer, who takes it back once it is converted."""
    CONVERTED = 3
    """By the reader: free to be written again, under a new name."""


WIDE = 1 << 31
CONTINUATION_START_NS = 1
MAX_SIGNATURE_ID = 32767

CONTEXTS_MAGIC = b"DSPCTX1\0"
CONTEXTS_VERSION = 1
CONTEXTS_HEADER = struct.Struct("<8sII")
CONTEXT_ENTRY = struct.Struct("<4B3I")
"""tag, kind, phase, flags, id, parent_id, text_len; the text and its crc32 follow."""
CRC = struct.Struct("<I")
TAG_CONTEXT = ord("C")
TAG_SIGNATURE = ord("S")

_U32 = 0xFFFFFFFF
_CHECK_SEED = 0xD5A1


def record_check(start_ns: int, dur_low: int, self_low: int, context: int, tail: int) -> int:
    """The 16-bit check of a record; the low 16 bits of ``tail`` do not count."""
    x = start_ns ^ (dur_low | self_low << 32) ^ (context | (tail & 0xFFFF0000) << 32)
    x ^= x >> 32
    x ^= x >> 16
    return (x ^ _CHECK_SEED) & 0xFFFF


def _pack_one(start_ns: int, dur_low: int, self_low: int, context: int, tail: int) -> bytes:
    return RECORD.pack(
        start_ns, dur_low, self_low, context, tail | record_check(start_ns, dur_low, self_low, context, tail)
    )


def pack_record(start_ns: int, dur_ns: int, self_ns: int, context: int, signature: int = 0) -> bytes:
    """One record, or a wide record and its continuation for spans of 2**32 ns (4.3 s) and longer.

    ``start_ns`` is CLOCK_MONOTONIC and above 1; ``signature`` is 0 (none) to 32767.
    """
    if start_ns <= CONTINUATION_START_NS or not 0 <= signature <= MAX_SIGNATURE_ID:
        raise ValueError(f"start_ns {start_ns} must be above 1, signature {signature} within 0..{MAX_SIGNATURE_ID}")
    wide = dur_ns > _U32 or self_ns > _U32
    tail = (WIDE if wide else 0) | signature << 16
    first = _pack_one(start_ns, dur_ns & _U32, self_ns & _U32, context, tail)
    if not wide:
        return first
    return first + _pack_one(CONTINUATION_START_NS, dur_ns >> 32, self_ns >> 32, context, 0)


class SegmentWriter:
    """Appends spans to one segment file after the other: ``<prefix>-00000.seg``, ``-00001.seg``, …

    ``size_bytes`` is the size of a file. Not thread-safe: one writer a thread, as the format demands. Raises OSError
    when a file cannot be made or written.
    """

    def __init__(self, directory: Path, prefix: str, pid: int, tid: int, *, size_bytes: int = 1 << 20) -> None:
        if size_bytes < SEGMENT_HEADER.size + 2 * RECORD.size:
            raise ValueError(f"a segment of {size_bytes} bytes holds no wide record")
        self._directory = directory
        self._prefix = prefix
        self._pid = pid
        self._tid = tid
        self._size_bytes = size_bytes
        self._next_index = 0
        self._mapped: mmap.mmap | None = None
        self._offset = 0
        self.dropped_spans = 0

    def append(self, start_ns: int, dur_ns: int, self_ns: int, context: int, signature: int = 0) -> None:
        """Writes one span; see :func:`pack_record`."""
        packed = pack_record(start_ns, dur_ns, self_ns, context, signature)
        mapped = self._mapped
        if mapped is None or self._offset + len(packed) > self._size_bytes:
            mapped = self._advance()
        # The start time is written last: it commits the record, so that a kill never leaves half of one.
        mapped[self._offset + 8 : self._offset + len(packed)] = packed[8:]
        mapped[self._offset : self._offset + 8] = packed[:8]
        self._offset += len(packed)

    def close(self) -> None:
        """Marks the current segment as complete."""
        if self._mapped is None:
            return
        self._mapped[STATE_OFFSET : STATE_OFFSET + 4] = CRC.pack(SegmentState.CLOSED)
        self._mapped.close()
        self._mapped = None

    def _advance(self) -> mmap.mmap:
        self.close()
        path = self._directory / f"{self._prefix}-{self._next_index:05d}.seg"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Allocated, not merely sized: on a full disk a write into a hole would kill the process by SIGBUS.
            os.posix_fallocate(fd, 0, self._size_bytes)
            header = SEGMENT_HEADER.pack(
                SEGMENT_MAGIC,
                SEGMENT_VERSION,
                SEGMENT_HEADER.size,
                RECORD.size,
                self._pid,
                self._tid,
                time.monotonic_ns(),
                self.dropped_spans,
                0,
            )
            mapped = mmap.mmap(fd, self._size_bytes)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(fd)
        mapped[8 : len(header)] = header[8:]
        mapped[:8] = header[:8]
        self._mapped = mapped
        self._offset = SEGMENT_HEADER.size
        self._next_index += 1
        return mapped


class ContextsLogWriter:
    """Writes ``contexts.log``. An entry is in the file before the call returns, so a killed process loses none."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._next_context = 1
        self._next_signature = 1
        os.write(self._fd, CONTEXTS_HEADER.pack(CONTEXTS_MAGIC, CONTEXTS_VERSION, 0))

    def context(self, parent_id: int, kind: int, phase: int, text: str) -> int:
        """Adds a context and returns its id; ``parent_id`` 0 makes a root."""
        context_id = self._next_context
        self._next_context += 1
        self._entry(TAG_CONTEXT, kind, phase, context_id, parent_id, text)
        return context_id

    def signature(self, text: str) -> int:
        """Adds a signature such as ``float32[8,64];float32[64,64]`` and returns its id; 0 once the ids are used up."""
        if self._next_signature > MAX_SIGNATURE_ID:
            return 0
        signature_id = self._next_signature
        self._next_signature += 1
        self._entry(TAG_SIGNATURE, 0, 0, signature_id, 0, text)
        return signature_id

    def close(self) -> None:
        """Closes the file; further calls fail."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _entry(self, tag: int, kind: int, phase: int, entry_id: int, parent_id: int, text: str) -> None:
        encoded = text.encode("utf-8", errors="replace")
        entry = CONTEXT_ENTRY.pack(tag, kind, phase, 0, entry_id, parent_id, len(encoded)) + encoded
        os.write(self._fd, entry + CRC.pack(zlib.crc32(entry)))
