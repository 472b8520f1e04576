"""Reading a trace file in chunks: every event once, whatever its text holds and wherever the file is cut off."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseek_prof.errors import TraceFileError
from deepseek_prof.importing import byte_source, event_array
from deepseek_prof.importing.byte_source import ByteSource
from deepseek_prof.importing.event_array import EventArray
from deepseek_prof.importing.trace_event import TraceEvent, parse_event, parse_events

HOSTILE = (
    '"},{"',
    "\\",
    '"',
    "}],",
    "\x1b[31m",
    "[bold]",
    "\u202e",
    "π\U0001f600",
    "a\nb",
    "\x00",
    "{" * 50,
    "x" * 10_000,
)

texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
events = st.fixed_dictionaries(
    {"ph": st.just("X"), "name": texts, "ts": st.integers(0, 10**9), "dur": st.integers(0, 10**6)},
    optional={"args": st.dictionaries(texts, values, max_size=3), "extra": values},
)


@pytest.fixture(autouse=True, params=[64, 4 << 20], ids=["tiny-chunks", "chunks"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_source, "CHUNK_BYTES", request.param)


def read(path: Path) -> tuple[list[tuple[Any, Any, Any]], EventArray]:
    """Name, time and length of the file's events."""

    def parse_elements(elements: list[bytes]) -> list[TraceEvent]:
        return [event for element in elements if (event := parse_event(element)) is not None]

    array = EventArray(ByteSource(path))
    batches: Iterator[list[TraceEvent]] = array.batches(parse_events, parse_elements)
    return [(event.name, event.ts, event.dur) for batch in batches for event in batch], array


def expected(drawn: list[dict[str, Any]]) -> list[tuple[Any, Any, Any]]:
    return [(event["name"], event["ts"], event["dur"]) for event in drawn]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(events, max_size=12),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
    shape=st.sampled_from(["object", "list", "keys behind"]),
    packed=st.booleans(),
)
def test_every_event_is_read_once(
    tmp_path: Path, drawn: list[dict[str, Any]], indent: int | None, ascii_only: bool, shape: str, packed: bool
) -> None:
    before = {"note": 'not "traceEvents": [{', "nested": {"traceEvents": [{"ph": "X"}]}}
    behind = {"otherData": [{"a": 1}, {"b": 2}], "rank": 3}
    content = drawn if shape == "list" else {**before, "traceEvents": drawn, **(behind if shape != "object" else {})}
    data = json.dumps(content, indent=indent, ensure_ascii=ascii_only).encode()
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(data) if packed else data)
    found, array = read(path)
    assert found == expected(drawn)
    assert array.cut_off is None
    if shape != "list":
        assert array.metadata["note"] == before["note"]
    if shape == "keys behind":
        assert array.metadata["rank"] == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), drawn=st.lists(events, min_size=1, max_size=8), packed=st.booleans())
def test_a_file_cut_off_anywhere_keeps_its_whole_events(
    tmp_path: Path, data: st.DataObject, drawn: list[dict[str, Any]], packed: bool
) -> None:
    pieces = [json.dumps(event) for event in drawn]
    head = '{"schemaVersion": 1, "traceEvents": ['
    text = head + ", ".join(pieces) + '], "traceName": "x"}'
    whole = text.encode()
    cut = data.draw(st.integers(len(head), len(whole) - 1))
    position, kept = len(head), 0
    for piece in pieces:
        position += len(piece)
        kept += position <= cut
        position += 2
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(whole[:cut])[:-8] if packed else whole[:cut])
    found, array = read(path)
    assert found == expected(drawn)[:kept]
    assert array.cut_off is not None


def test_an_array_without_its_closing_bracket_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text('[{"ph": "X", "name": "a", "ts": 1, "dur": 2},\n')  # as the format allows
    found, array = read(path)
    assert found == [("a", 1, 2)]
    assert array.cut_off is None


def test_members_of_a_gzip_file_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(b'[{"ph": "X", "name": "a", "ts"') + gzip.compress(b': 1, "dur": 2}]'))
    assert read(path)[0] == [("a", 1, 2)]


def test_damaged_gzip_is_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    text = json.dumps([{"ph": "X", "name": str(number), "ts": number, "dur": 1} for number in range(20_000)])
    data = bytearray(gzip.compress(text.encode()))
    data[len(data) // 2 :] = b"\xff" * 100
    path.write_bytes(data)
    found, array = read(path)
    assert 0 < len(found) < 20_000
    assert found == [(str(number), number, 1) for number in range(len(found))]
    assert array.cut_off is not None
    assert "gzip" in array.cut_off


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"   ",
        b"not json",
        b"{}",
        b'{"traceEvents": 3}',
        b'{"traceEvents"',
        b"<html>",
        b"\x00" * 100,
        b"PK\x03\x04",
    ],
)
def test_what_is_no_trace_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "not-a-trace.json"
    path.write_bytes(content)
    with pytest.raises(TraceFileError, match=r"not-a-trace\.json"):
        read(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match="missing"):
        read(tmp_path / "missing.json")
    with pytest.raises(TraceFileError, match="cannot be read"):
        read(tmp_path)


def test_an_event_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_array, "_MAX_EVENT_BYTES", 1 << 12)
    monkeypatch.setattr(byte_source, "CHUNK_BYTES", 1 << 10)
    path = tmp_path / "trace"
    path.write_text('[{"name": "' + "x" * (1 << 16))
    with pytest.raises(TraceFileError, match="more than"):
        read(path)
