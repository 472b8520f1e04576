"""What the columns of the converted spans and contexts hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording import converter as converter_module
from deepseek_prof.recording.converter import Converter
from tests.support.live import (
    DEAD_PID,
    NO_LIMIT,
    OFFSET_NS,
    add_process,
    finish,
    make_run,
    read_rows,
    read_spans,
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converts every closed segment at once, however little it holds."""
    monkeypatch.setattr(converter_module, "PENDING_BYTES", 1)


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
