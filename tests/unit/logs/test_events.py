"""The event log of a profiled process, and what it makes of values."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.collectors import events
from deepseek_prof.collectors.events import EventLog, plain
from deepseek_prof.trace.log_view import MAX_LINE_BYTES, parse_line
from tests.unit.logs.conftest import HOSTILE


class FakeAttachment:
    """What an event log asks of the recording of a process."""

    def __init__(self, live_root: Path) -> None:
        self.live_root = live_root
        self.directory = live_root / "1-1"
        self.place = (3, 2, "encoder.0")
        live_root.mkdir(parents=True)
        (live_root.parent / "run.json").write_text('{"clock": {"monotonic_ns": 0, "epoch_ns": 1000000000}}')

    def position(self) -> tuple[int, int, str]:
        return self.place

    def make_directory(self) -> None:
        self.directory.mkdir(exist_ok=True)

    def rows(self) -> list[dict[str, Any]]:
        """The events in all files, in order; each line must be one."""
        found = []
        for path in sorted(self.directory.glob("events-*.jsonl")):
            for line in path.read_bytes().splitlines():
                row = parse_line(line)
                assert row is not None, line[:200]
                found.append(row)
        return found


@pytest.fixture
def attachment(tmp_path: Path) -> FakeAttachment:
    return FakeAttachment(tmp_path / "live")


@pytest.fixture
def log(attachment: FakeAttachment) -> EventLog:
    return EventLog(attachment)  # type: ignore[arg-type]  # has all that is asked of it


def test_an_event_has_its_place_and_the_runs_clock(attachment: FakeAttachment, log: EventLog) -> None:
    log.emit("info", "epoch done", {"accuracy": 0.5})
    (row,) = attachment.rows()
    assert (row["step"], row["phase"], row["layer"]) == (3, "backward", "encoder.0")
    assert (row["level"], row["event"], row["fields"]) == ("info", "epoch done", {"accuracy": 0.5})
    assert row["ts_ns"] > 1_000_000_000


def test_before_the_first_step_and_outside_layers_there_is_none(attachment: FakeAttachment, log: EventLog) -> None:
    attachment.place = (-1, 4, "")
    log.emit("info", "start", {})
    (row,) = attachment.rows()
    assert (row["step"], row["phase"], row["layer"]) == (None, "other", None)


def test_nothing_is_made_before_the_first_event(attachment: FakeAttachment, log: EventLog) -> None:
    assert log.lost == 0
    assert not attachment.directory.exists()


def test_files_rotate_and_are_bounded(
    attachment: FakeAttachment, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "ROTATE_BYTES", 1000)
    monkeypatch.setattr(events, "MAX_FILES", 3)
    for number in range(60):
        log.emit("info", f"event {number}", {})
    names = sorted(path.name for path in attachment.directory.iterdir())
    assert names == ["events-00000.jsonl", "events-00001.jsonl", "events-00002.jsonl"]
    told = [row["event"] for row in attachment.rows()]
    assert told == [f"event {number}" for number in range(len(told))]
    assert log.lost == 60 - len(told) > 0


def test_threads_write_whole_lines(attachment: FakeAttachment, log: EventLog) -> None:
    def work(name: str) -> None:
        for number in range(200):
            log.emit("info", name, {"number": number, "text": "x" * 500})

    threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = attachment.rows()
    for index in range(4):
        numbers = [row["fields"]["number"] for row in rows if row["event"] == f"t{index}"]
        assert numbers == list(range(200))


def test_a_torn_line_costs_only_itself(
    attachment: FakeAttachment, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.emit("info", "first", {})
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
    log.emit("info", "torn", {})
    monkeypatch.setattr(os, "write", write)
    log.emit("info", "last", {})
    lines = [parse_line(line) for line in (attachment.directory / "events-00000.jsonl").read_bytes().splitlines()]
    assert [row and row["event"] for row in lines] == ["first", None, "last"]
    assert log.lost == 1


def test_a_full_disk_costs_the_event(
    attachment: FakeAttachment, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    log.emit("info", "first", {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        log.emit("info", "second", {})
    log.emit("info", "third", {})
    assert [row["event"] for row in attachment.rows()] == ["first", "third"]
    assert log.lost == 1


def test_hostile_texts_are_one_line_each(attachment: FakeAttachment, log: EventLog) -> None:
    texts = [*HOSTILE, "lone \ud800 surrogate", "nul \0"]
    for text in texts:
        log.emit("info", text, {text: text, "message": text})
    assert [row["event"] for row in attachment.rows()] == [text.replace("\ud800", "?") for text in texts]


def test_a_huge_event_is_cut(attachment: FakeAttachment, log: EventLog) -> None:
    log.emit("info", "x" * 10**6, {f"key {number}": "y" * 10**6 for number in range(200)} | {"message": "m" * 10**6})
    (row,) = attachment.rows()
    assert row["fields"]["truncated"] is True
    assert (attachment.directory / "events-00000.jsonl").stat().st_size < MAX_LINE_BYTES


def test_values_whose_code_fails_or_logs_do_not_reach_the_program(attachment: FakeAttachment, log: EventLog) -> None:
    class Raises:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    class Logs:
        def __repr__(self) -> str:
            log.emit("info", "inner", {})
            return "logs"

    log.emit("info", "raises", {"value": Raises()})
    log.emit("info", "logs", {"value": Logs()})
    assert [(row["event"], row["fields"]) for row in attachment.rows()] == [("logs", {"value": "logs"})]
    assert log.lost == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1 << 80, str(1 << 80)),
        (True, True),
        ((1, {2}), [1, [2]]),
        ({1: {"a": None}}, {"1": {"a": None}}),
        (Path("x"), repr(Path("x"))),
        ("x" * 20_000, "x" * events.MAX_TEXT),
    ],
)
def test_values_become_what_json_holds(value: object, expected: object) -> None:
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def test_values_that_hold_themselves_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    json.dumps(plain(loop))
