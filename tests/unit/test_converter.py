"""The converter on live files of all forms: what it writes, when it deletes, and what it leaves out."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from deepseek_prof.errors import OutputError, RunDamagedError
from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording import converter as converter_module
from deepseek_prof.recording import part_files
from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.live_format import CRC, RECORD, SEGMENT_HEADER, STATE_OFFSET, SegmentState
from deepseek_prof.trace.run_file import read_run_file
from deepseek_prof.trace.schema import SPANS
from tests.support.live import DEAD_PID, OFFSET_NS, add_process, make_run, read_rows, read_spans

NO_LIMIT = 1 << 40


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts every closed segment at once, however little it holds."""
    monkeypatch.setattr(converter_module, "PENDING_BYTES", 1)


def finish(run_dir: Path) -> dict[str, Any]:
    Converter(run_dir, max_size_bytes=NO_LIMIT).finish()
    return read_run_file(run_dir)


def starts(rows: list[dict[str, Any]]) -> list[int]:
    return [row["start_ns"] - OFFSET_NS for row in rows]


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


def test_ranks_and_processes_share_context_ids(run_dir: Path) -> None:
    for number, names in enumerate((("a", "b"), ("b", "a"))):
        process = add_process(run_dir, DEAD_PID + number)
        outer = process.context("outer", kind=Kind.USER)
        process.spans(1, [(100, 1, 1, process.context(name, outer)) for name in names])
        process.end(rank=number)
    finish(run_dir)
    by_rank = [
        {row["name"]: (row["context_id"], row["parent_id"]) for row in read_rows(run_dir, f"contexts/rank={rank}/*")}
        for rank in range(2)
    ]
    assert by_rank[0] == by_rank[1]
    assert set(by_rank[0]) == {"outer", "a", "b"}


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


def test_spans_get_the_step_that_runs_when_they_start(run_dir: Path) -> None:
    process = add_process(run_dir)
    op = process.context("x")
    process.spans(1, [(start, 1, 1, op) for start in (50, 99, 100, 199, 200, 299, 300, 1_000)])
    process.steps([(100, 100), (200, 100)])
    process.end()
    finish(run_dir)
    assert [row["step"] for row in read_spans(run_dir)] == [None, None, 0, 0, 1, 1, 2, 2]
    steps = read_rows(run_dir, "spans/rank=0/*/steps-*.parquet")
    assert [(row["step"], row["start_ns"] - OFFSET_NS, row["dur_ns"]) for row in steps] == [
        (0, 100, 100),
        (1, 200, 100),
    ]
    (step_context,) = {row["context_id"] for row in steps}
    contexts = {row["context_id"]: row for row in read_rows(run_dir, "contexts/*/*")}
    assert (contexts[step_context]["kind"], contexts[step_context]["name"]) == ("step", "step")


def test_parts_from_before_the_first_step_get_their_steps_later(run_dir: Path, eager: None) -> None:
    process = add_process(run_dir, os.getpid())
    op = process.context("x")
    process.spans(1, [(100 + i, 1, 1, op) for i in range(400)])
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.poll()
    assert {row["step"] for row in read_spans(run_dir)} == {None}
    process.steps([(150, 100)])
    process.end()
    converter.finish()
    expected = [None if start < 150 else int(start >= 250) for start in range(100, 500)]
    assert [row["step"] for row in read_spans(run_dir)] == expected


def test_a_data_worker_has_the_steps_of_its_rank(run_dir: Path) -> None:
    for number, rank in enumerate((0, 0, 1)):
        process = add_process(run_dir, DEAD_PID + number, start=number)
        process.spans(1, [(start, 1, 1, process.context("x")) for start in (50, 150, 250)])
        if number == 1:
            process.steps([(100, 100)])
        process.end(rank=rank)
    finish(run_dir)
    steps = [[row["step"] for row in read_spans(run_dir, DEAD_PID + number)] for number in range(3)]
    assert steps == [[None, 0, 1], [None, 0, 1], [None, None, None]]


def test_spans_of_any_length(run_dir: Path) -> None:
    process = add_process(run_dir)
    op = process.context("x")
    lengths = [0, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 90_000_000_000_000]
    process.spans(1, [(100, dur_ns, dur_ns // 2, op) for dur_ns in lengths])
    process.end()
    finish(run_dir)
    rows = read_spans(run_dir)
    assert [row["dur_ns"] for row in rows] == lengths
    assert [row["self_ns"] for row in rows] == [dur_ns // 2 for dur_ns in lengths]


def test_signatures_become_shapes_bytes_and_operations(run_dir: Path) -> None:
    process = add_process(run_dir)
    matmul, relu = process.context("aten::mm"), process.context("aten::relu")
    inner = process.context("aten::mm", matmul)
    matrices = process.log.signature("Float[2,3];Float[3,4]")
    process.spans(1, [(9, 1, 1, matmul, matrices), (9, 1, 1, relu)])
    process.spans(1, [(9, 1, 1, inner, matrices), (9, 1, 1, matmul, 77)])
    process.end()
    finish(run_dir)
    columns = [(row["shapes"], row["bytes"], row["flops"]) for row in read_spans(run_dir)]
    shapes = "float32[2,3];float32[3,4]"
    # The inner operator's operations are its outer one's; signature 77 is not in the log.
    assert columns == [(shapes, 72, 48), (None, None, None), (shapes, 72, None), (None, None, None)]


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


def test_layers_of_two_roots_get_their_roots_name(run_dir: Path) -> None:
    process = add_process(run_dir)
    for root_name in ("Generator", "Discriminator"):
        root = process.context(root_name, kind=Kind.LAYER)
        layer = process.context("net.0", root, Kind.LAYER)
        process.spans(1, [(9, 1, 1, process.context("aten::mm", layer))])
        process.context("aten::mm", process.context("net.0", root, Kind.LAYER, Phase.BACKWARD), phase=Phase.BACKWARD)
    process.end()
    finish(run_dir)
    layers = {(row["name"], row["layer"], row["phase"]) for row in read_rows(run_dir, "contexts/*/*")}
    for root_name in ("Generator", "Discriminator"):
        assert (root_name, root_name, "forward") in layers
        for phase in ("forward", "backward"):
            assert ("aten::mm", f"{root_name}.net.0", phase) in layers


def test_only_one_converter_works_on_a_run(run_dir: Path) -> None:
    converter = Converter(run_dir, max_size_bytes=NO_LIMIT)
    with pytest.raises(OutputError, match="another process"):
        Converter(run_dir, max_size_bytes=NO_LIMIT)
    converter.finish()


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
