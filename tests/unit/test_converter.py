"""The converter's work over a run's life: whose files go where, and when live files are deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_prof.errors import OutputError
from deepseek_prof.recording import converter as converter_module
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.live_format import CRC, STATE_OFFSET, SegmentState
from deepseek_prof.trace.run import Run
from deepseek_prof.trace.run_file import read_run_file
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


def test_processes_and_threads_come_apart_by_their_paths(run_dir: Path) -> None:
    for rank in range(2):
        process = add_process(run_dir, DEAD_PID + rank)
        mm = process.context("aten::mm")
        for tid in (71, 72):
            process.spans(tid, [(1_000 * tid + i, 20 + rank, 10, mm) for i in range(300)])
        process.end(rank=rank)
    info = finish(run_dir)
    for rank in range(2):
        rows = read_spans(run_dir, DEAD_PID + rank, rank)
        assert len(rows) == 600
        for tid in (71, 72):
            own = [row for row in rows if row["tid"] == tid]
            assert starts(own) == [1_000 * tid + i for i in range(300)]
            assert {(row["dur_ns"], row["self_ns"], row["step"]) for row in own} == {(20 + rank, 10, None)}
    assert info["spans"]["count"] == 1_200
    assert [(process["pid"], process["rank"]) for process in info["processes"]] == [(DEAD_PID, 0), (DEAD_PID + 1, 1)]
    assert info["warnings"] == []
    assert info["dropped"] == []
    assert not (run_dir / "live").exists()


def test_a_rank_that_is_known_late_moves_what_is_there(run_dir: Path, eager: None) -> None:
    process = add_process(run_dir, os.getpid())
    op = process.context("aten::mm")
    process.spans(1, [(100 + i, 1, 1, op) for i in range(400)])
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    early = len(read_spans(run_dir, os.getpid(), 0))
    assert 0 < early < 400
    process.end(rank=3)
    converter.finish()
    assert starts(read_spans(run_dir, os.getpid(), 3)) == list(range(100, 500))
    for kind in ("spans", "contexts"):
        assert [path.name for path in (run_dir / kind).iterdir()] == ["rank=3"]


def test_a_living_process_keeps_its_open_segment(run_dir: Path, eager: None) -> None:
    process = add_process(run_dir, os.getpid())
    op = process.context("aten::mm")
    process.spans(1, [(100 + i, 1, 1, op) for i in range(400)])
    with_three = sorted(path.name for path in process.directory.glob("t*"))
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    assert [path.name for path in process.directory.glob("t*")] == with_three[-1:]
    before = converter.spans_written
    converter.poll()
    assert converter.spans_written == before
    process.spans(1, [(600, 1, 1, op)])
    process.describe(ended_ns=700)  # recorded no more, though the process runs on
    converter.poll()
    assert starts(read_spans(run_dir)) == [*range(100, 500), 600]
    assert list(process.directory.glob("t*")) == []
    assert converter.warnings == ()


def test_a_zombie_writes_no_more(run_dir: Path, eager: None) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        process = add_process(run_dir, ended.pid)
        process.spans(1, [(100, 1, 1, process.context("x"))])
        Converter(run_dir, max_size_bytes=NO_LIMIT).poll()
    assert len(read_spans(run_dir)) == 1


def test_a_later_process_of_the_same_number_is_another(run_dir: Path, eager: None) -> None:
    process = add_process(run_dir, os.getpid())
    process.spans(1, [(100, 1, 1, process.context("x"))])
    os.utime(process.directory / "contexts.log", (1, 1))  # long before this process began
    Converter(run_dir, max_size_bytes=NO_LIMIT).poll()
    assert len(read_spans(run_dir)) == 1


def test_few_closed_segments_wait(run_dir: Path) -> None:
    process = add_process(run_dir, os.getpid())
    process.spans(1, [(100 + i, 1, 1, process.context("x")) for i in range(400)])
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    assert converter.spans_written == 0


def test_a_process_that_still_runs_at_the_end_is_converted_with_a_warning(run_dir: Path) -> None:
    process = add_process(run_dir, os.getpid())
    process.spans(1, [(100, 1, 1, process.context("x"))])
    info = finish(run_dir)
    assert len(read_spans(run_dir)) == 1
    assert any("was still running" in warning for warning in info["warnings"])


def test_a_lent_segment_goes_back_to_its_writer(run_dir: Path, eager: None) -> None:
    process = add_process(run_dir, os.getpid())
    process.spans(1, [(100, 1, 1, process.context("x"))])
    process.threads[1].close()
    (segment,) = process.directory.glob("t*")
    data = bytearray(segment.read_bytes())
    data[STATE_OFFSET : STATE_OFFSET + 4] = CRC.pack(SegmentState.LENT)
    segment.write_bytes(data)
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    assert segment.read_bytes()[STATE_OFFSET : STATE_OFFSET + 4] == CRC.pack(SegmentState.CONVERTED)
    process.describe(ended_ns=1)
    converter.finish()
    assert len(read_spans(run_dir)) == 1


def test_the_size_limit_keeps_the_sums(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter_module, "_MIN_PART_ROWS", 150)
    process = add_process(run_dir)
    ops = [process.context(name) for name in "ab"]
    for tid in (1, 2):
        process.spans(tid, [(100 + i, 10 + i % 7, i % 5, ops[i % 2]) for i in range(1_000)])
    process.end()
    converter = Converter(run_dir, max_size_bytes=9_000)
    converter.finish()
    raw, sums = read_spans(run_dir), read_rows(run_dir, "sums/*/*/*.parquet")
    assert 0 < len(raw) < 2_000
    assert sum(row["count"] for row in sums) + len(raw) == 2_000 == converter.spans_written
    names = {row["context_id"]: row["name"] for row in read_rows(run_dir, "contexts/*/*")}
    for tid in (1, 2):
        for number, name in enumerate("ab"):
            of_raw, of_sums = (
                [row for row in rows if row["tid"] == tid and names[row["context_id"]] == name] for rows in (raw, sums)
            )
            written = range(number, 1_000, 2)
            assert len(of_sums) <= 1
            for key, values in (("dur_ns", [10 + i % 7 for i in written]), ("self_ns", [i % 5 for i in written])):
                assert sum(row[key] for row in (*of_raw, *of_sums)) == sum(values)
            assert max([row["max_dur_ns"] for row in of_sums] + [row["dur_ns"] for row in of_raw]) == 16
    info = read_run_file(run_dir)
    assert [(entry["pid"], entry["spans"]) for entry in info["dropped"]] == [(DEAD_PID, 2_000 - len(raw))]
    assert info["spans"] == {"count": len(raw), "size_bytes": converter.bytes_written}
    assert converter.bytes_written <= 9_000


def test_two_processes_of_one_pid_stay_apart(run_dir: Path) -> None:
    for start in (0x2A, 0x11):
        process = add_process(run_dir, start=start)
        process.spans(1, [(start, 1, 1, process.context(f"of {start}"))])
        process.steps([(start, 1)])
        process.end(argv=[str(start)])
    info = finish(run_dir)
    assert starts(read_spans(run_dir, DEAD_PID)) == [0x11, 0x2A]
    assert {row["name"] for row in read_rows(run_dir, "contexts/*/*")} == {"of 17", "of 42", "step"}
    assert [process["argv"] for process in info["processes"]] == [["17"], ["42"]]
    assert len(list(run_dir.glob("spans/*/*/steps-*.parquet"))) == 2


def test_only_one_converter_works_on_a_run(run_dir: Path) -> None:
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    with pytest.raises(OutputError, match="another process"):
        Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.finish()


def test_steps_alone_do_not_have_the_contexts_written_again(run_dir: Path) -> None:
    process = add_process(run_dir, os.getpid())
    process.context("aten::mm")
    process.steps([(10, 5)])
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    (contexts,) = run_dir.glob("contexts/*/*.parquet")
    written = contexts.stat().st_ino
    process.steps([(20, 5)])
    converter.poll()
    assert contexts.stat().st_ino == written
    process.context("aten::add")
    converter.poll()
    assert contexts.stat().st_ino != written
    converter.finish()
    with Run.open(run_dir) as run:
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'step'") == [(2,)]
