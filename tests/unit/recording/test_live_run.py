"""A run that grows is read whole at any moment: what waits in ``live/`` too, and nothing twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepseek_prof.recording import converter as converter_module
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.live_run import LiveRunReader
from deepseek_prof.recording.part_files import PartFiles
from deepseek_prof.trace.run import Run
from tests.support.live import NO_LIMIT, WrittenProcess, add_process, make_run

FIRST_NS = 10_000
MANY = 400
"""Spans that fill more than one segment."""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def process(run_dir: Path) -> WrittenProcess:
    """A process that is alive: this one."""
    return add_process(run_dir, os.getpid())


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts every closed segment at once, however little it holds."""
    monkeypatch.setattr(converter_module, "PENDING_BYTES", 1)


def spans(first: int, count: int, context: int) -> list[tuple[int, ...]]:
    """Spans of 5 ns, one every 10 ns."""
    return [(FIRST_NS + 10 * number, 5, 5, context) for number in range(first, first + count)]


def counted(run: Run) -> tuple[int, int]:
    """All spans of operators, and how many of them are different ones."""
    return run.rows("SELECT count(*), count(DISTINCT start_ns) FROM spans WHERE kind = 'op'")[0]


def test_spans_are_there_before_any_is_converted(run_dir: Path, process: WrittenProcess) -> None:
    process.describe(rank=3)
    process.steps([(FIRST_NS, 100)])
    process.spans(7, spans(0, 2, process.context("aten::mm")))
    with LiveRunReader(run_dir).open() as run:
        assert (
            run.rows("SELECT rank, pid, tid, step, phase, name, type FROM spans WHERE kind = 'op'")
            == [(3, os.getpid(), 7, 0, "forward", "aten::mm", "matmul")] * 2
        )
        assert run.rows("SELECT count(*) FROM contexts WHERE kind = 'op'") == [(1,)]


def test_steps_that_wait_to_be_written_are_there_too(run_dir: Path, process: WrittenProcess) -> None:
    process.describe(rank=3)
    process.context("aten::mm")
    process.steps([(FIRST_NS, 100)])
    reader = LiveRunReader(run_dir)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    for count in range(1, 4):
        with reader.open() as run:
            assert run.rows("SELECT rank, pid, step, dur_ns FROM spans WHERE kind = 'step' ORDER BY step") == [
                (3, os.getpid(), step, 100 + step) for step in range(count)
            ]
        converter.poll()
        process.steps([(FIRST_NS + 1000 * count, 100 + count)])


def test_run_that_is_converted_to_its_end_while_it_is_read(
    run_dir: Path, process: WrittenProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.context("aten::mm")
    process.steps([(FIRST_NS, 100)])
    reader = LiveRunReader(run_dir)
    reader.open().close()
    found = reader._waiting()
    process.end()
    Converter(run_dir, max_size_bytes=NO_LIMIT).finish()
    monkeypatch.setattr(reader, "_waiting", lambda: found)
    with reader.open() as run:
        assert run.rows("SELECT step, dur_ns FROM spans WHERE kind = 'step'") == [(0, 100)]


@pytest.mark.usefixtures("eager")
def test_what_moves_into_parts_is_neither_missed_nor_told_twice(run_dir: Path, process: WrittenProcess) -> None:
    context = process.context("aten::mm")
    reader = LiveRunReader(run_dir)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    for number in range(5):
        process.spans(7, spans(number * MANY, MANY, context))
        with reader.open() as run:
            assert counted(run) == ((number + 1) * MANY,) * 2
        converter.poll()
        with reader.open() as run:
            assert counted(run) == ((number + 1) * MANY,) * 2
            assert 0 < run.rows("SELECT count(*) FROM live_spans")[0][0] < MANY
    process.end()
    converter.finish()
    with reader.open() as run:
        assert counted(run) == (5 * MANY,) * 2
        assert run.rows("SELECT count(*) FROM live_spans") == [(0,)]


@pytest.mark.usefixtures("eager")
def test_segment_that_a_part_holds_and_nobody_has_deleted_yet_counts_once(
    run_dir: Path, process: WrittenProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.spans(7, spans(0, MANY, process.context("aten::mm")))
    monkeypatch.setattr(converter_module, "dispose", lambda *_, **__: None)
    Converter(run_dir, max_size_bytes=NO_LIMIT).poll()
    with LiveRunReader(run_dir).open() as run:
        assert counted(run) == (MANY, MANY)


@pytest.mark.usefixtures("eager")
def test_open_run_stays_as_it_was_while_its_files_are_replaced_and_removed(
    run_dir: Path, process: WrittenProcess
) -> None:
    context = process.context("aten::mm")
    process.spans(7, spans(0, MANY, context))
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    with LiveRunReader(run_dir).open() as run:
        process.steps([(FIRST_NS, 100)])
        converter.poll()  # the part gets its steps: another file of the same name
        assert counted(run) == (MANY, MANY)
        assert run.rows("SELECT count(step) FROM spans WHERE kind = 'op'") == [(0,)]
        files = PartFiles(run_dir)
        for part in list(files.parts):
            files.remove(part)  # as the size limit does
        assert counted(run) == (MANY, MANY)


def test_descriptors_are_given_back(run_dir: Path, process: WrittenProcess) -> None:
    process.spans(7, spans(0, 2, process.context("aten::mm")))
    process.end()
    Converter(run_dir, max_size_bytes=NO_LIMIT).finish()
    reader = LiveRunReader(run_dir)
    reader.open().close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with reader.open() as run:
            assert counted(run) == (2, 2)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
