"""The segment reader against files written by SegmentWriter, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.live_format import RECORD, SEGMENT_HEADER, SegmentWriter, pack_record
from deepseek_prof.recording.segments import Segment, read_segment, scan_segment

SPANS = [(1_000, 50, 20, 1, 0), (1_100, (7 << 32) + 5, (6 << 32) + 9, 2, 3), (1_200, 1, 1, 70_000, 32767)]


def write(directory: Path, spans: list[tuple[int, int, int, int, int]], *, close: bool = True) -> Path:
    writer = SegmentWriter(directory, "t0", pid=11, tid=12, size_bytes=4096)
    for span in spans:
        writer.append(*span)
    if close:
        writer.close()
    return directory / "t0-00000.seg"


def spans_of(segment: Segment) -> list[tuple[int, ...]]:
    columns = (segment.start_ns, segment.dur_ns, segment.self_ns, segment.context, segment.signature)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    segment = read_segment(write(tmp_path, SPANS))
    assert spans_of(segment) == SPANS
    assert (segment.pid, segment.tid, segment.closed, segment.dropped) == (11, 12, True, 0)


def test_an_open_segment_is_not_closed(tmp_path: Path) -> None:
    segment = read_segment(write(tmp_path, SPANS, close=False))
    assert spans_of(segment) == SPANS
    assert not segment.closed


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    spans = [(1_000 + i, 10, 5, 1, 0) for i in range(400)]
    write(tmp_path, spans)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    assert [span for file in files for span in spans_of(read_segment(file))] == spans


def test_a_wide_record_never_straddles_two_files(tmp_path: Path) -> None:
    capacity = (4096 - SEGMENT_HEADER.size) // RECORD.size
    spans = [(1_000, 1, 1, 1, 0)] * (capacity - 1) + [(2_000, 1 << 40, 1 << 33, 2, 0)]
    write(tmp_path, spans)
    first, second = sorted(tmp_path.iterdir())
    assert spans_of(read_segment(first)) == spans[:-1]
    assert spans_of(read_segment(second)) == spans[-1:]


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\0" * 8 + b"\1\0\0\0" + b"\0" * 4084])
def test_a_file_whose_header_was_not_finished_holds_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t0-00000.seg"
    path.write_bytes(content)
    assert len(read_segment(path)) == 0


def test_a_half_written_last_record_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, SPANS[:1], close=False)
    data = bytearray(path.read_bytes())
    end = SEGMENT_HEADER.size + RECORD.size
    data[end + 8 : end + RECORD.size] = pack_record(5, 6, 7, 8)[8:]
    path.write_bytes(data)
    assert spans_of(read_segment(path)) == SPANS[:1]


def test_a_continuation_without_its_record_yet_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, SPANS[:1], close=False)
    data = bytearray(path.read_bytes())
    end = SEGMENT_HEADER.size + RECORD.size
    data[end : end + 2 * RECORD.size] = b"\0" * 8 + pack_record(9, 1 << 33, 1, 8)[8:]
    path.write_bytes(data)
    assert spans_of(read_segment(path)) == SPANS[:1]


def damage(path: Path, offset: int, replacement: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(replacement)] = replacement
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "replacement", "message", "good"),
    [
        (0, b"PARQUET1", "foreign magic", 0),
        (8, b"\x02", "unknown segment version", 0),
        (SEGMENT_HEADER.size + 8, b"\xff", "record 0 fails its check", 0),
        (SEGMENT_HEADER.size + 4 * RECORD.size + 1, b"\1", "record 4 fails its check", 3),
        (SEGMENT_HEADER.size + 20 * RECORD.size, b"\1", "stand behind record 4", 3),
        (4095, b"\1", "stand behind record 4", 3),
        (SEGMENT_HEADER.size + RECORD.size, bytes(RECORD.size), "stand behind record 1", 1),
        (SEGMENT_HEADER.size + RECORD.size, pack_record(5, 6, 6, 1), "record 2 does not continue", 2),
        (SEGMENT_HEADER.size + 2 * RECORD.size, pack_record(5, 6, 6, 1), "record 2 does not continue", 1),
    ],
)
def test_damage_is_told_and_the_good_part_kept(
    tmp_path: Path, offset: int, replacement: bytes, message: str, good: int
) -> None:
    path = write(tmp_path, SPANS)
    damage(path, offset, replacement)
    with pytest.raises(RunDamagedError, match=message) as raised:
        read_segment(path)
    assert str(path) in str(raised.value)
    segment = scan_segment(path)
    if good == 2:
        assert spans_of(segment) == [SPANS[0], (5, 6, 6, 1, 0)]
    else:
        assert spans_of(segment) == SPANS[:good]
    assert segment.lost > 0 or message.startswith("stand behind record 4")


def test_a_truncated_header_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path, SPANS)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RunDamagedError, match="cut off after 40 of 64"):
        read_segment(path)


def test_a_gap_in_a_file_being_written_is_its_end(tmp_path: Path) -> None:
    path = write(tmp_path, SPANS, close=False)
    damage(path, SEGMENT_HEADER.size + 20 * RECORD.size, b"\1")
    assert spans_of(scan_segment(path, being_written=True)) == SPANS
    assert scan_segment(path, being_written=True).damage is None


@pytest.mark.parametrize("other_context", [1, 3])
def test_a_continuation_of_another_context_is_damage(tmp_path: Path, other_context: int) -> None:
    path = write(tmp_path, SPANS[:2])
    damage(path, SEGMENT_HEADER.size + 2 * RECORD.size, pack_record(9, 7 << 32, 6 << 32, other_context)[RECORD.size :])
    with pytest.raises(RunDamagedError, match="record 2 does not continue"):
        read_segment(path)
    assert spans_of(scan_segment(path)) == SPANS[:1]
