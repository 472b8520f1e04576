"""Throughput by batch size: more rows where that is proven to pay, and none where rows are not independent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from deepseek_prof.optimizer import batches
from deepseek_prof.optimizer.batch_sweep import Limits, _probe, sweep
from deepseek_prof.optimizer.candidate import Candidate, CandidateError, Target
from deepseek_prof.optimizer.protocol import Call
from deepseek_prof.optimizer.results import BatchResult
from tests.support.recording import cli_command, run_words

PROGRAM = Path(__file__).parent / "programs" / "batched_models.py"


def swept(name: str, sizes: tuple[int, ...] = (1, 4, 8), limits: Limits | None = None) -> tuple[BatchResult, ...]:
    return sweep(Target((sys.executable, str(PROGRAM), name), name, 4, False), (), sizes, limits or Limits())


def test_sizes_are_measured_beside_the_programs_own() -> None:
    rows = swept("Rows")
    assert [row.rows for row in rows] == [2, 1, 4, 8]
    assert rows[0].speedup == pytest.approx(1.0)
    for row in rows:
        assert row.status in ("best", "better", "measured")
        assert row.median_ns is not None
        assert row.p99_ns is not None
        assert row.p99_ns >= row.median_ns
        assert row.interval is not None
        assert row.speedup is not None
        assert row.interval[0] <= row.speedup <= row.interval[1]
        assert row.extra_bytes is not None
        assert row.extra_bytes >= 0
    claimed = [row for row in rows if row.status in ("best", "better")]
    assert sum(row.status == "best" for row in claimed) == bool(claimed)
    for row in claimed:
        assert row.interval is not None
        assert row.interval[0] > 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Mixing", "rows change each other's results"),
        ("Scalar", "result of the module of shape [] has no"),
        ("Table", "dimension 0 of the arguments is no batch: found 2, 5"),
    ],
)
def test_models_whose_rows_are_not_independent_are_refused(name: str, reason: str) -> None:
    rows = swept(name, (3, 8))
    assert {row.status for row in rows} <= {"failed", "skipped", "measured"}
    assert any(row.status == "failed" and reason in str(row.reason) for row in rows)
    assert all(row.rows_per_s is None for row in rows if row.rows != 2)


def test_sizes_past_the_latency_limit_are_not_tried() -> None:
    rows = swept("Rows", (1, 4, 8), Limits(latency_s=1e-9))
    by_rows = {row.rows: row for row in rows}
    assert by_rows[1].status == "too slow"
    for skipped in (2, 4, 8):
        assert by_rows[skipped].status == "skipped"
        assert "latency limit" in str(by_rows[skipped].reason)


class Scripted:
    """A process that takes a MiB a row of ten, and breaks down where it is told to."""

    def __init__(self, breaks_at: int = 0) -> None:
        self.asked: list[int] = []
        self.breaks_at = breaks_at

    def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        rows = message["rows"] or 2
        self.asked.append(rows)
        if rows == self.breaks_at:
            raise CandidateError("out of memory")
        return {"rows": rows, "calls_ns": [1000], "extra_bytes": rows << 20, "available_bytes": 10 << 20}


def test_what_memory_would_not_hold_is_not_tried() -> None:
    process = Scripted()
    captured, rows = _probe(cast("Candidate", process), (8, 16, 32), Limits())
    assert captured == 2
    assert [(row.rows, row.status) for row in rows] == [
        (2, "measured"), (8, "measured"), (16, "skipped"), (32, "skipped"),
    ]  # fmt: skip
    assert "16 MiB, and 10 MiB are free" in str(rows[2].reason)
    assert process.asked == [2, 2, 8]


def test_after_a_size_that_breaks_down_no_larger_one_is_tried() -> None:
    process = Scripted(breaks_at=4)
    _, rows = _probe(cast("Candidate", process), (4, 8), Limits())
    assert [(row.status, row.reason) for row in rows[1:]] == [("failed", "out of memory"), ("skipped", "out of memory")]


def test_rows_are_repeated_in_turn() -> None:
    call = Call((torch.arange(3.0).reshape(3, 1),), {"mask": torch.ones(3, 2, dtype=torch.int64), "scale": 2.0})
    more = batches.with_rows(call, 5)
    assert more.args[0].flatten().tolist() == [0, 1, 2, 0, 1]
    assert more.kwargs["mask"].shape == (5, 2)
    assert more.kwargs["scale"] == 2.0
    assert batches.with_rows(call, 2).args[0].flatten().tolist() == [0, 1]


@pytest.mark.parametrize("call", [Call((1,), {}), Call((torch.tensor(1.0),), {}), Call((torch.ones(0, 1),), {})])
def test_calls_without_rows(call: Call) -> None:
    with pytest.raises(batches.BatchError, match="no batch"):
        batches.rows_of(call)


def test_the_command_shows_and_writes_them(tmp_path: Path) -> None:
    words = ["optimize", "--passes", "layout", "--batch-sizes", "1,4", "--max-latency", "10s"]
    shown = run_words(cli_command(*words, str(PROGRAM), "Rows"), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr.decode()
    assert b"Rows per second by batch size, under eager" in shown.stdout
    written = run_words(cli_command(*words, "--format", "json", str(PROGRAM), "Rows"), cwd=tmp_path)
    proof = json.loads(written.stdout)
    assert [row["rows"] for row in proof["batches"]] == [2, 1, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-sizes", "1,zero"], b"numbers of 1 or more"),
        (["--batch-sizes", "0"], b"numbers of 1 or more"),
        (["--batch-sizes", "1", "--max-latency", "soon"], b"--max-latency 'soon' is not a time"),
        (["--max-latency", "1s"], b"say which with --batch-sizes"),
    ],
)
def test_options_that_do_not_fit(words: list[str], message: bytes, tmp_path: Path) -> None:
    result = run_words(cli_command("optimize", *words, str(PROGRAM), "Rows"), cwd=tmp_path)
    assert result.returncode == 2
    assert message in b" ".join(result.stderr.split())


def test_a_training_is_timed_with_its_backward_pass() -> None:
    program = Path(__file__).parent / "programs" / "trainings.py"
    environment = (("OMP_NUM_THREADS", "1"),)
    trained = Target((sys.executable, str(program), "AdamW"), "Net", 0, True, environment=environment)
    rows = sweep(trained, [], (4, 64), Limits())
    assert [(row.rows, row.reason) for row in rows] == [(16, None), (4, None), (64, None)]
    assert all(row.rows_per_s and row.interval for row in rows)
    assert {row.status for row in rows} <= {"best", "better", "measured"}


def test_a_training_without_gradients_of_its_results_says_so(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text("import torch\nm = torch.nn.Linear(4, 4)\nwith torch.no_grad():\n    m(torch.ones(2, 4))\n")
    rows = sweep(Target((sys.executable, str(program)), "Linear", 0, True), [], (4,), Limits())
    assert [row.status for row in rows] == ["failed"]
