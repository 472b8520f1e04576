"""The totals of a growing run are those of all its spans, and each part is read for them once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from deepseek_prof.analysis.totals import first_start_ns, keep_totals
from deepseek_prof.recording import converter as converter_module
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.live_run import LiveRunReader
from deepseek_prof.recording.part_files import PartFiles
from deepseek_prof.recording.part_totals import _BLOCK_PARTS, PartTotals
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


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts every closed segment at once, however little it holds."""
    monkeypatch.setattr(converter_module, "PENDING_BYTES", 1)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the parts whose spans are read for totals, as it happens."""
    names: list[str] = []
    read = PartTotals.read

    def noted(self: PartTotals, run: Run, parts: list[Path], pinned: Mapping[Path, int]) -> pa.Table:
        names.extend(path.name for path in parts)
        return read(self, run, parts, pinned)

    monkeypatch.setattr(PartTotals, "read", noted)
    return names


def record(process: WrittenProcess, context: int, round_: int) -> None:
    """More spans than fill a segment, each longer than the one before, and a step around them."""
    first = round_ * MANY
    process.spans(7, [(FIRST_NS + 1000 * n, 5 + n, 3, context) for n in range(first, first + MANY)])
    process.steps([(FIRST_NS + 1000 * first, 1000 * MANY)])


def check_totals(run: Run) -> None:
    """Compare the totals with those of all spans."""
    sql = "SELECT * FROM context_totals ORDER BY ALL"
    first_ns = first_start_ns(run)
    found = run.rows(sql)
    keep_totals(run)
    assert found
    assert found == run.rows(sql)
    assert first_ns == run.rows("SELECT min(start_ns) FROM raw_spans")[0][0]


def test_totals_are_those_of_all_spans_at_any_moment(run_dir: Path, process: WrittenProcess) -> None:
    reader = LiveRunReader(run_dir)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    contexts = [process.context(name) for name in ("aten::mm", "aten::relu")]
    for round_ in range(_BLOCK_PARTS + 3):
        record(process, contexts[round_ % 2], round_)
        with reader.open() as run:
            check_totals(run)
        converter.poll()
        with reader.open() as run:
            check_totals(run)
    process.end()
    converter.finish()
    with reader.open() as run:
        check_totals(run)


def test_what_is_read_for_totals_does_not_grow_with_the_run(
    run_dir: Path, process: WrittenProcess, reads: list[str]
) -> None:
    reader = LiveRunReader(run_dir)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    context = process.context("aten::mm")
    for round_ in range(3 * _BLOCK_PARTS):
        record(process, context, round_)
        converter.poll()
        reader.open().close()
        reader.open().close()
    assert len(reads) >= 3 * _BLOCK_PARTS
    assert len(reads) == len(set(reads))


def test_removed_part_leaves_the_totals_and_costs_its_block_alone(
    run_dir: Path, process: WrittenProcess, reads: list[str]
) -> None:
    reader = LiveRunReader(run_dir)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    context = process.context("aten::mm")
    for round_ in range(2 * _BLOCK_PARTS):
        record(process, context, round_)
        converter.poll()
    reader.open().close()
    files = PartFiles(run_dir)
    removed = files.parts[0]
    files.remove(removed)  # as the size limit does
    reads.clear()
    with reader.open() as run:
        assert run.rows("SELECT sum(count) FROM context_totals WHERE kind = 'op'") == [
            (2 * _BLOCK_PARTS * MANY - removed.rows,)
        ]
        check_totals(run)
    assert sorted(reads) == [f"part-{number:05d}.parquet" for number in range(1, _BLOCK_PARTS)]
