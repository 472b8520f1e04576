"""Damaged live files, a full disk, a conversion cut short: what is lost is what is damaged, and it is written down."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording import converter as converter_module
from deepseek_prof.recording import part_files
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.live_format import RECORD, SEGMENT_HEADER
from deepseek_prof.trace.schema import SPANS
from tests.support.live import (
    DEAD_PID,
    NO_LIMIT,
    add_process,
    finish,
    make_run,
    read_rows,
    read_spans,
    starts,
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts every closed segment at once, however little it holds."""
    monkeypatch.setattr(converter_module, "PENDING_BYTES", 1)


def test_a_full_disk_loses_and_repeats_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = add_process(run_dir)
    op = process.context("x")
    process.spans(1, [(100 + i, 1, 1, op) for i in range(400)])
    process.end()

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(pq.ParquetWriter, "write_table", fails)
        converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
        converter.finish()
    assert list((run_dir / "spans").rglob("*.*")) == []  # neither a part nor half of one
    assert any("No space left" in warning for warning in converter.warnings)
    finish(run_dir)
    assert starts(read_spans(run_dir)) == list(range(100, 500))
    assert not (run_dir / "live").exists()


def test_a_conversion_cut_off_before_the_deletion_is_not_repeated(run_dir: Path, tmp_path: Path, eager: None) -> None:
    process = add_process(run_dir, os.getpid())
    op = process.context("x")
    process.spans(1, [(100 + i, 1, 1, op) for i in range(400)])
    shutil.copytree(run_dir / "live", tmp_path / "copy")
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    del converter  # its death frees the lock
    for path in (tmp_path / "copy" / process.directory.name).glob("t*"):
        shutil.copy(path, process.directory)
    process.describe(ended_ns=1)
    finish(run_dir)
    assert starts(read_spans(run_dir)) == list(range(100, 500))


def test_a_damaged_segment_costs_what_is_damaged(run_dir: Path) -> None:
    process = add_process(run_dir)
    op = process.context("x")
    for tid in (1, 2, 3):
        process.spans(tid, [(1_000 * tid + i, 1, 1, op) for i in range(5)])
    process.end()
    files = sorted(process.directory.glob("t*"))
    for path, offset, content in (
        (files[0], 0, b"FOREIGN!"),
        (files[1], SEGMENT_HEADER.size + 3 * RECORD.size + 9, b"!"),
    ):
        data = bytearray(path.read_bytes())
        data[offset : offset + len(content)] = content
        path.write_bytes(data)
    info = finish(run_dir)
    assert starts(read_spans(run_dir)) == [2_000, 2_001, 2_002, *range(3_000, 3_005)]
    assert [(entry["spans"], entry["reason"].partition(" ")[0]) for entry in info["dropped"]] == [
        (5, files[0].name),
        (2, files[1].name),
    ]
    assert len(info["warnings"]) == 2
    assert all(f"process {DEAD_PID} is damaged" in warning for warning in info["warnings"])
    assert len(info["processes"]) == 1


def test_damaged_steps_leave_the_steps_before(run_dir: Path) -> None:
    process = add_process(run_dir)
    process.spans(1, [(start, 1, 1, process.context("x")) for start in (150, 250, 350)])
    process.steps([(100, 100), (200, 100), (300, 100)])
    process.end()
    (steps,) = process.directory.glob("steps-*")
    data = bytearray(steps.read_bytes())
    data[SEGMENT_HEADER.size + RECORD.size + 9] ^= 1
    steps.write_bytes(data)
    info = finish(run_dir)
    assert [row["step"] for row in read_spans(run_dir)] == [0, 1, 1]
    assert [entry["spans"] for entry in info["dropped"]] == [0]
    assert "steps-00000.seg" in info["warnings"][0]


@pytest.mark.parametrize("content", [b"", b"\0" * 10, b"\0" * 4096])
def test_a_segment_that_was_never_begun_is_no_loss(run_dir: Path, content: bytes) -> None:
    process = add_process(run_dir)
    process.spans(1, [(100, 1, 1, process.context("x"))])
    process.end()
    (process.directory / "t9-00000.seg").write_bytes(content)
    info = finish(run_dir)
    assert len(read_spans(run_dir)) == 1
    assert info["dropped"] == info["warnings"] == []


def test_spans_survive_a_damaged_contexts_log(run_dir: Path) -> None:
    process = add_process(run_dir)
    known = process.context("known")
    size = (process.directory / "contexts.log").stat().st_size
    process.spans(1, [(100, 7, 5, known), (200, 8, 6, process.context("lost")), (300, 1, 1, 1 << 23)])
    process.end()
    log = process.directory / "contexts.log"
    data = bytearray(log.read_bytes())
    data[size + 20] ^= 1
    log.write_bytes(data)
    info = finish(run_dir)
    names = {row["context_id"]: row["name"] for row in read_rows(run_dir, "contexts/*/*")}
    rows = read_spans(run_dir)
    assert [(names[row["context_id"]], row["self_ns"]) for row in rows] == [
        ("known", 5),
        ("(unknown context)", 6),
        ("(unknown context)", 1),
    ]
    assert any("fails its checksum" in warning for warning in info["warnings"])
    assert any("does not hold" in warning for warning in info["warnings"])


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "[" * 100_000, '{"rank": -1}', '{"rank": "x"}', "\udcff"])
def test_a_bad_description_costs_no_span(run_dir: Path, text: str) -> None:
    process = add_process(run_dir)
    process.spans(1, [(100, 1, 1, process.context("x"))])
    process.end()
    (process.directory / "process.json").write_bytes(text.encode(errors="surrogateescape"))
    info = finish(run_dir)
    assert len(read_spans(run_dir, rank=0)) == 1
    assert [process["pid"] for process in info["processes"]] == [DEAD_PID]


def test_dropped_spans_are_summed_over_threads(run_dir: Path) -> None:
    process = add_process(run_dir)
    op = process.context("x")
    for tid, dropped in ((1, 30), (2, 4)):
        process.spans(tid, [(100, 1, 1, op)] * 150)
        process.threads[tid].dropped_spans = dropped
        process.spans(tid, [(100, 1, 1, op)] * 200)
    process.end()
    info = finish(run_dir)
    assert [(entry["pid"], entry["spans"]) for entry in info["dropped"]] == [(DEAD_PID, 34)]
    assert info["processes"][0]["dropped_spans"] == 34


def test_foreign_folders_and_files_are_left_alone(run_dir: Path) -> None:
    for name in ("notes", "12", "x-1", "1\u0662-3", "9" * 30 + "-1"):
        (run_dir / "live" / name).mkdir()
    foreign = run_dir / "spans" / "rank=x" / "pid=y" / "part-00000.parquet"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    info = finish(run_dir)
    assert sum("was left" in warning for warning in info["warnings"]) == 6
    assert foreign.read_bytes() == b"mine"


def test_a_part_cannot_make_us_delete_files_elsewhere(run_dir: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim.seg"
    victim.write_text("keep")
    files = part_files.PartFiles(run_dir)
    names = ["../../victim.seg", str(victim), "1-1/../../../victim.seg"]
    files.add(7, SPANS.empty_table(), names, steps_known=True)
    finish(run_dir)
    assert victim.read_text() == "keep"


def test_without_a_clock_nothing_is_dated(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", clock=None)
    process = add_process(run_dir)
    process.spans(1, [(100, 1, 1, process.context("x"))])
    process.end()
    with pytest.raises(RunDamagedError, match="lacks its clock"):
        Converter(run_dir, max_size_bytes=NO_LIMIT).finish()
    assert list(process.directory.glob("t*")) != []
