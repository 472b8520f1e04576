"""The segment reader on whole, cut, flipped and foreign bytes: the true spans, or fewer with an error, never others.

What the format does not protect: the fields of the header behind the magic, version and sizes (a wrong thread id goes
unnoticed), and a record replaced by random bytes, which passes its 16-bit check once in 65,536 times.
"""

from __future__ import annotations

import re
import struct
import tempfile
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.live_format import RECORD, SEGMENT_HEADER, SegmentWriter, pack_record, record_check
from deepseek_prof.recording.segments import Segment, read_segment, scan_segment

Span: TypeAlias = tuple[int, ...]

U32 = (1 << 32) - 1
HEADER_ENDS = SEGMENT_HEADER.size
# Short and wide spans, and the numbers at the borders between them.
times = st.one_of(st.integers(0, 1_000), st.sampled_from((U32 - 1, U32, U32 + 1, 1 << 33)), st.integers(0, 1 << 62))
spans = st.tuples(st.integers(2, (1 << 63) - 1), times, times, st.integers(0, U32), st.integers(0, 32767))
span_lists = st.lists(spans, max_size=30)


def written(all_spans: list[Span], *, close: bool = True) -> bytes:
    """The one segment file that the writer makes of these spans."""
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder), "t0", pid=7, tid=8, size_bytes=4096)
        writer.append(2, 0, 0, 0)
        for span in all_spans:
            writer.append(*span)
        if close:
            writer.close()
        return (Path(folder) / "t0-00000.seg").read_bytes()


def read(data: bytes) -> Segment | None:
    """What the reader makes of a file with these bytes; None for an error that names it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t0-00000.seg"
        path.write_bytes(data)
        if scan_segment(path).damage is None:
            return read_segment(path)
        with pytest.raises(RunDamagedError, match=re.escape(str(path))):
            read_segment(path)
        return None


def scan(data: bytes, *, being_written: bool = False) -> Segment:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t0-00000.seg"
        path.write_bytes(data)
        return scan_segment(path, being_written=being_written)


def spans_of(segment: Segment) -> list[Span]:
    columns = (segment.start_ns, segment.dur_ns, segment.self_ns, segment.context, segment.signature)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def is_prefix(part: list[Span], whole: list[Span]) -> bool:
    return part == whole[: len(part)]


@given(span_lists)
def test_what_is_packed_is_read(all_spans: list[Span]) -> None:
    segment = read(written(all_spans))
    assert segment is not None
    assert spans_of(segment) == [(2, 0, 0, 0, 0), *all_spans]
    assert (segment.pid, segment.tid, segment.closed) == (7, 8, True)


@given(span_lists, st.integers(0, 4096))
def test_a_cut_file_gives_an_error_or_a_prefix(all_spans: list[Span], size: int) -> None:
    data = written(all_spans)
    segment = read(data[:size])
    assert segment is None or is_prefix(spans_of(segment), [(2, 0, 0, 0, 0), *all_spans])
    scanned = scan(data[:size])
    assert is_prefix(spans_of(scanned), [(2, 0, 0, 0, 0), *all_spans])
    assert len(scanned) == 0 or size >= HEADER_ENDS


@settings(max_examples=150)
@given(span_lists, st.data())
def test_flipped_bits_give_an_error_or_a_prefix(all_spans: list[Span], data: st.DataObject) -> None:
    """Flips within 16 aligned bits always show in the check, wherever in the records they are."""
    content = bytearray(written(all_spans))
    true = [(2, 0, 0, 0, 0), *all_spans]
    # Half of the bursts where the records are, the others anywhere.
    used = HEADER_ENDS + RECORD.size * (len(all_spans) + 2)
    offset = data.draw(st.one_of(st.integers(HEADER_ENDS, used), st.integers(HEADER_ENDS, len(content) - 2)))
    # Within one of the 16-bit columns that the check folds onto each other.
    offset -= (offset - HEADER_ENDS) % 2
    (before,) = struct.unpack_from("<H", content, offset)
    struct.pack_into("<H", content, offset, before ^ data.draw(st.integers(1, 0xFFFF)))
    segment = read(bytes(content))
    assert segment is None or is_prefix(spans_of(segment), true)
    assert is_prefix(spans_of(scan(bytes(content))), true)
    assert is_prefix(spans_of(scan(bytes(content), being_written=True)), true)


@given(span_lists, st.integers(0, 23), st.integers(0, 7))
def test_a_flipped_bit_of_magic_version_or_sizes_is_an_error(all_spans: list[Span], offset: int, bit: int) -> None:
    content = bytearray(written(all_spans))
    content[offset if offset < 20 else 19] ^= 1 << bit
    assert read(bytes(content)) is None
    assert len(scan(bytes(content))) == 0


@given(st.binary(max_size=400))
def test_foreign_bytes_give_an_error_or_nothing(content: bytes) -> None:
    segment = read(content)
    assert segment is None or (len(segment) == 0 and not any(content[:8]))
    assert len(scan(content)) == 0


def slow_spans(records: bytes) -> list[Span]:
    """The good spans at the front of a segment's records, one after the other as the document tells it."""
    found: list[Span] = []
    unpacked = list(RECORD.iter_unpack(records[: len(records) // RECORD.size * RECORD.size]))
    position = 0

    def good(index: int) -> bool:
        start, dur, self_time, context, tail = unpacked[index]
        return bool(start != 0 and tail & 0xFFFF == record_check(start, dur, self_time, context, tail))

    while position < len(unpacked) and good(position):
        start, dur, self_time, context, tail = unpacked[position]
        if start == 1:
            break
        if tail >> 31:
            if position + 1 == len(unpacked) or not good(position + 1):
                break
            second, dur_high, self_high, same_context, second_tail = unpacked[position + 1]
            if second != 1 or same_context != context or second_tail >> 31:
                break
            dur, self_time = dur | dur_high << 32, self_time | self_high << 32
            position += 1
        found.append((start, dur, self_time, context, tail >> 16 & 0x7FFF))
        position += 1
    return found


WIDE_OR_NOT = (5 << 16, 1 << 31, (1 << 31) + (5 << 16))


@st.composite
def odd_records(draw: st.DrawFn, starts: tuple[int, ...], tails: tuple[int, ...]) -> bytes:
    """A record with a right check that may stand in the wrong place."""
    start, dur, context = draw(st.sampled_from(starts)), draw(st.integers(0, 9)), draw(st.integers(0, 1))
    tail = draw(st.sampled_from(tails))
    return RECORD.pack(start, dur, 0, context, tail | record_check(start, dur, 0, context, tail))


@st.composite
def mixed_records(draw: st.DrawFn) -> bytes:
    """Whole, zeroed, half, foreign, wide, orphaned records in any order: mostly with a right check."""
    pieces = []
    for _ in range(draw(st.integers(0, 12))):
        packed = pack_record(*draw(spans))
        form = draw(st.sampled_from(("whole", "whole", "whole", "tail", "head", "zero", "foreign", "odd", "pair")))
        if form == "tail":
            packed = packed[-RECORD.size :]
        elif form == "head":
            packed = packed[: RECORD.size]
        elif form == "zero":
            packed = bytes(RECORD.size)
        elif form == "foreign":
            packed = draw(st.binary(min_size=RECORD.size, max_size=RECORD.size))
        elif form == "odd":
            packed = draw(odd_records((1, 2), WIDE_OR_NOT))
        elif form == "pair":
            packed = draw(odd_records((2,), WIDE_OR_NOT[1:])) + draw(odd_records((1,), WIDE_OR_NOT[:2]))
        pieces.append(packed)
    return b"".join(pieces) + draw(st.binary(max_size=RECORD.size - 1))


@settings(max_examples=150)
@given(mixed_records(), st.booleans())
def test_the_reader_agrees_with_the_document(records: bytes, being_written: bool) -> None:
    header = written([])[:HEADER_ENDS]
    segment = scan(header + records, being_written=being_written)
    expected = slow_spans(records)
    assert spans_of(segment) == expected
    kept = RECORD.size * sum(1 + (max(span[1], span[2]) > U32) for span in expected)
    if segment.damage is None and not being_written:
        # Without a word of damage nothing was there to lose but what a kill leaves of the last record.
        assert not any(records[kept + 2 * RECORD.size :])
    committed = sum(1 for (start,) in struct.iter_unpack("<Q16x", records[: len(records) // 24 * 24]) if start)
    assert segment.lost <= committed


@given(span_lists, st.integers(8, 48), st.integers(8, 48))
def test_a_kill_inside_the_last_record_loses_that_one_only(all_spans: list[Span], begin: int, end: int) -> None:
    """The start time commits a record: with it still zero, whatever else is written of it does not count."""
    wide = pack_record(9, (1 << 40) + 7, (1 << 33) + 7, 5)
    packed = bytes(begin - 8) + wide[begin:end]  # copied in no particular order
    content = bytearray(written(all_spans, close=False))
    used = RECORD.size * (1 + sum(1 + (max(span[1], span[2]) > U32) for span in all_spans))
    content[HEADER_ENDS + used + 8 : HEADER_ENDS + used + 8 + len(packed)] = packed
    segment = read(bytes(content))
    assert segment is not None
    assert spans_of(segment) == [(2, 0, 0, 0, 0), *all_spans]


def test_random_records_pass_the_check_as_seldom_as_sixteen_bits_allow() -> None:
    count = 1 << 20
    words = np.random.default_rng(1).integers(0, 1 << 64, (count, 3), dtype=np.uint64)
    folded = words[:, 0] ^ words[:, 1] ^ (words[:, 2] & np.uint64(0xFFFF0000_FFFFFFFF))
    folded ^= folded >> np.uint64(32)
    folded ^= folded >> np.uint64(16)
    check = (words[:, 2] >> np.uint64(32)) & np.uint64(0xFFFF)
    passing = np.flatnonzero(((folded ^ np.uint64(0xD5A1)) & np.uint64(0xFFFF)) == check)
    assert 4 <= len(passing) <= 40  # 16 expected
    # The reader stops at the first of the others: it needs a foreign file's first record to pass, and its header too.
    header = written([])[:HEADER_ENDS]
    for index in passing[:3]:
        assert len(scan(header + words[index].tobytes())) in (0, 1)
        assert len(scan(header + words[index - 1].tobytes() + words[index].tobytes())) == 0
