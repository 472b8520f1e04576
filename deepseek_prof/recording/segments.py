"""Reads segment files, the spans that a profiled process has written; see ``docs/architecture.md``, live format.

A segment may end anywhere: its process may be writing it now, or was killed. What is committed is whole, and is
verified record by record, by 16 bits: changes within one aligned pair of bytes never escape, a record of random bytes
does once in 65,536 times. Of the header only magic, version and sizes are verified, not the thread or the counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.live_format import (
    CONTINUATION_START_NS,
    RECORD,
    SEGMENT_HEADER,
    SEGMENT_MAGIC,
    SEGMENT_VERSION,
    SegmentState,
)

Int64s: TypeAlias = npt.NDArray[np.int64]
UInt64s: TypeAlias = npt.NDArray[np.uint64]

_U32 = np.uint64(0xFFFFFFFF)
_WITHOUT_CHECK = np.uint64(0xFFFF0000_FFFFFFFF)
_CHECK_MASK = np.uint64(0xFFFF)
_CHECK_SEED = np.uint64(0xD5A1)
_SHIFT_16, _SHIFT_32, _SHIFT_48, _SHIFT_63 = (np.uint64(bits) for bits in (16, 32, 48, 63))
_SIGNATURE_MASK = np.uint64(0x7FFF)


@dataclass(frozen=True)
class Segment:
    """The committed spans of one segment file, in order of their end. Times are nanoseconds, CLOCK_MONOTONIC.

    The five arrays have one entry a span; ``signature`` is 0 where there is none. ``damage`` says what is wrong with
    the file behind these spans, or is None.
    """

    pid: int
    tid: int
    created_ns: int
    closed: bool
    dropped: int
    start_ns: Int64s
    dur_ns: Int64s
    self_ns: Int64s
    context: Int64s
    signature: Int64s
    damage: str | None = None
    lost: int = 0
    """How many records stand behind the damage, at most."""

    def __len__(self) -> int:
        return len(self.start_ns)


def read_segment(path: Path) -> Segment:
    """The spans of a segment file. Raises RunDamagedError naming the file if anything in it is not ours."""
    segment = scan_segment(path)
    if segment.damage is not None:
        raise RunDamagedError(f"{path} is damaged: {segment.damage}.")
    return segment


def scan_segment(path: Path, *, being_written: bool = False) -> Segment:
    """The good spans at the start of a segment file; ``damage`` says why the rest is not readable. Raises OSError.

    With ``being_written`` the bytes may be older at the front than at the back, since the file is copied while its
    process goes on: what stands behind the first gap is then no damage.
    """
    data = path.read_bytes()
    segment = _read_header(data)
    count = max(0, len(data) - SEGMENT_HEADER.size) // RECORD.size
    if count == 0:
        return segment
    words = np.frombuffer(data, dtype="<u8", offset=SEGMENT_HEADER.size, count=count * 3).reshape(count, 3)
    if segment.damage is not None:
        return replace(segment, lost=int(np.count_nonzero(words[:, 0])))
    return _read_records(segment, data, words, being_written=being_written)


def _read_header(data: bytes) -> Segment:
    none = np.zeros(0, dtype=np.int64)
    empty = Segment(0, 0, 0, False, 0, none, none, none, none, none)
    if data[:8].count(0) == len(data[:8]):
        # The magic is written last: the process was stopped while it made this file.
        behind = data[SEGMENT_HEADER.size :]
        if behind.count(0) != len(behind):
            return replace(empty, damage="records stand behind an empty header")
        return empty
    if len(data) < SEGMENT_HEADER.size:
        return replace(empty, damage=f"the header is cut off after {len(data)} of {SEGMENT_HEADER.size} bytes")
    magic, version, header_size, record_size, pid, tid, created_ns, dropped, state = SEGMENT_HEADER.unpack_from(data)
    if magic != SEGMENT_MAGIC:
        return replace(empty, damage="it is not a segment file: foreign magic")
    if (version, header_size, record_size) != (SEGMENT_VERSION, SEGMENT_HEADER.size, RECORD.size):
        return replace(
            empty, damage=f"unknown segment version {version} (header {header_size} bytes, record {record_size} bytes)"
        )
    return replace(empty, pid=pid, tid=tid, created_ns=created_ns, closed=state == SegmentState.CLOSED, dropped=dropped)


def _read_records(segment: Segment, data: bytes, words: UInt64s, *, being_written: bool) -> Segment:
    start = words[:, 0]
    gaps = np.flatnonzero(start == 0)
    committed = int(gaps[0]) if len(gaps) else len(start)
    damage = None
    if not being_written:
        damage = _damage_behind(data, words, committed)
    start, dur_self, context_tail = (np.ascontiguousarray(words[:committed, column]) for column in range(3))

    folded = start ^ dur_self ^ (context_tail & _WITHOUT_CHECK)
    folded ^= folded >> _SHIFT_32
    folded ^= folded >> _SHIFT_16
    wrong = np.flatnonzero(((folded ^ _CHECK_SEED) & _CHECK_MASK) != ((context_tail >> _SHIFT_32) & _CHECK_MASK))
    good = committed
    if len(wrong):
        good = int(wrong[0])
        # The last record may have been copied in the middle of its being written.
        damage = None if being_written and good == committed - 1 else f"record {good} fails its check"

    wide = (context_tail[:good] >> _SHIFT_63).astype(bool)
    continuation = start[:good] == CONTINUATION_START_NS
    if not (wide.any() or continuation.any()):
        segment = replace(segment, damage=damage, lost=_count_lost(words, good, damage))
        return _with_spans(segment, start[:good], dur_self[:good], context_tail[:good], None)
    good, pairing_damage = _check_pairs(wide, continuation, context_tail[:good] & _U32, len(wrong) == 0)
    if not (being_written and pairing_damage is not None and good == len(wide) - 1):
        damage = pairing_damage or damage
    wide, continuation = wide[:good], continuation[:good]
    high = np.zeros(good, dtype=np.uint64)
    high[wide] = dur_self[:good][continuation]
    keep = ~continuation
    segment = replace(segment, damage=damage, lost=_count_lost(words, good, damage))
    return _with_spans(segment, start[:good][keep], dur_self[:good][keep], context_tail[:good][keep], high[keep])


def _count_lost(words: UInt64s, good: int, damage: str | None) -> int:
    return 0 if damage is None else int(np.count_nonzero(words[good:, 0]))


def _damage_behind(data: bytes, words: UInt64s, committed: int) -> str | None:
    """What is wrong behind the first uncommitted record; that record itself may be half written."""
    rest = words[committed + 1 :]
    # A wide record is committed after its continuation, which may thus be there alone, or half written too.
    if len(rest) and rest[0, 0] <= CONTINUATION_START_NS:
        rest = rest[1:]
    remainder = data[SEGMENT_HEADER.size + len(words) * RECORD.size :]
    if rest.any() or any(remainder):
        return f"bytes that are not ours stand behind record {committed}"
    return None


def _check_pairs(
    wide: npt.NDArray[np.bool_], continuation: npt.NDArray[np.bool_], context: UInt64s, complete: bool
) -> tuple[int, str | None]:
    """How many leading records have every wide one followed by its continuation, and what is wrong behind them."""
    follows_wide = np.zeros(len(wide), dtype=bool)
    follows_wide[1:] = wide[:-1]
    unpaired = follows_wide != continuation
    unpaired |= continuation & wide
    unpaired[1:] |= continuation[1:] & (context[1:] != context[:-1])
    bad = np.flatnonzero(unpaired)
    if len(bad):
        first = int(bad[0])
        return (first - 1 if follows_wide[first] else first), f"record {first} does not continue the one before"
    if len(wide) and wide[-1]:
        return len(wide) - 1, "the last record lacks its continuation" if complete else None
    return len(wide), None


def _with_spans(
    segment: Segment, start: UInt64s, dur_self: UInt64s, context_tail: UInt64s, high: UInt64s | None
) -> Segment:
    dur = dur_self & _U32
    self_time = dur_self >> _SHIFT_32
    if high is not None:
        dur |= high << _SHIFT_32
        self_time |= (high >> _SHIFT_32) << _SHIFT_32
    return replace(
        segment,
        start_ns=start.view(np.int64),
        dur_ns=dur.view(np.int64),
        self_ns=self_time.view(np.int64),
        context=(context_tail & _U32).view(np.int64),
        signature=((context_tail >> _SHIFT_48) & _SIGNATURE_MASK).view(np.int64),
    )
