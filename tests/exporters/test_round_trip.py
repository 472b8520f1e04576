"""A run exported as a Chrome trace and imported again is the same run: every table of ``top`` is equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deepseek_prof.analysis.top import BY, top
from deepseek_prof.errors import TraceFileError
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.support.drawn import write_drawn_run
from tests.support.exported import exported, gpu_run, hostile_run, spans_of, training_step
from tests.support.recording import record, run_cli, write_program
from tests.support.synthetic import write_synthetic_run

PROGRAM = """
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    )
    optimizer = torch.optim.AdamW(model.parameters())
    data = torch.utils.data.DataLoader(torch.randn(12, 5, 8), batch_size=3)
    for batch in data:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
"""


def assert_same(first: Path, second: Path) -> None:
    """``top`` by everything, and every span."""
    with Run.open(first) as one, Run.open(second) as other:
        for by in BY:
            assert top(other, by, limit=0) == top(one, by, limit=0)
    assert len(spans_of(first)) > 3
    assert spans_of(second) == spans_of(first)


def test_a_real_training(tmp_path: Path) -> None:
    run_dir = record([str(write_program(tmp_path, PROGRAM))], tmp_path, "--record", "full")
    done = run_cli("export", "chrome", "run", "-o", "trace.json.gz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    done = run_cli("import", "trace.json.gz", "--output", "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"warning" not in done.stderr
    assert_same(run_dir, tmp_path / "again")
    shown = [run_cli("top", name, "--by", "layer", cwd=tmp_path).stdout for name in ("run", "again")]
    assert b"self_attn" in shown[0]
    assert shown[0].splitlines()[1:] == shown[1].splitlines()[1:]  # the first names the run
    report = run_cli("report", "again", cwd=tmp_path)
    assert report.returncode == 0, report.stderr


@pytest.mark.parametrize(
    "make",
    [
        gpu_run,
        lambda folder: write_drawn_run(folder / "drawn", training_step, steps=3, ranks=2),
        lambda folder: hostile_run(folder / "hostile"),
        lambda folder: write_synthetic_run(folder / "synthetic", steps=6, layers=1, ranks=2).path,
        lambda folder: write_synthetic_run(folder / "synthetic", steps=3, layers=1, with_steps=False).path,
    ],
)
def test_drawn_runs(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    run_dir = make(tmp_path)
    (tmp_path / "trace.json").write_bytes(exported(run_dir, "chrome"))
    result = import_traces([tmp_path / "trace.json"], tmp_path / "again")
    assert result.warnings == ()
    assert result.spans == len(spans_of(run_dir))
    assert_same(run_dir, tmp_path / "again")


def test_what_a_query_selected(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=6, layers=2)
    query = "type:matmul step:2..3"
    (tmp_path / "trace.json").write_bytes(exported(run.path, "chrome", query))
    import_traces([tmp_path / "trace.json"], tmp_path / "again")
    with Run.open(run.path) as one, Run.open(tmp_path / "again") as other:
        for by in BY:
            expected, found = (
                top(one, by, compile_query(query), limit=0).rows,
                top(other, by, limit=0).rows,
            )
            assert len(found) > 0
            if by == "step":  # a step's length is that of its own span, which the query left out
                expected = tuple(replace(row, total_ns=0) for row in expected)
            assert found == expected


def test_a_file_that_was_cut_off_keeps_what_is_whole(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=6, layers=2)
    data = exported(run.path, "chrome")
    (tmp_path / "trace.json").write_bytes(data[: len(data) // 2])
    result = import_traces([tmp_path / "trace.json"], tmp_path / "again")
    assert "cut off" in result.warnings[0]
    kept = spans_of(tmp_path / "again")
    assert kept == spans_of(run.path)[: len(kept)]
    assert len(kept) > run.spans / 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"version":1', b'"version":2', "newer"),
        (b'"version":1', b'"version":"x"', "changed since"),
        (b'"tracks":[[', b'"tracks":[[null,', "changed since"),
        (b'"tracks":[[4200,', b'"tracks":[[4200,7],[4200,', "changed since"),
        (b'"baseTimeNanoseconds":', b'"baseTime":', "changed since"),
        (b'"ph":"X"', b'"ph":"Y"', "no whole span"),
    ],
)
def test_a_changed_file_is_an_error_that_names_it(tmp_path: Path, old: bytes, new: bytes, told: str) -> None:
    data = exported(write_drawn_run(tmp_path / "run", training_step), "chrome")
    assert old in data
    (tmp_path / "trace.json").write_bytes(data.replace(old, new))
    with pytest.raises(TraceFileError, match=rf"trace\.json.*{told}"):
        import_traces([tmp_path / "trace.json"], tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_events_of_others_are_left_out_and_counted(tmp_path: Path) -> None:
    data = exported(write_drawn_run(tmp_path / "run", training_step), "chrome")
    foreign = (
        b'\n,{"ph":"X","name":"other","pid":1,"tid":1,"ts":1,"dur":1},'
        b'{"ph":"X","name":"other","pid":4200,"tid":4200,"ts":1,"dur":1,"args":{"context":"x"}},'
        b'{"ph":"X","name":"other","pid":4200,"tid":4200,"ts":1,"dur":1,"args":{"context":99}}]}'
    )
    (tmp_path / "trace.json").write_bytes(data.removesuffix(b"]}\n") + foreign)
    result = import_traces([tmp_path / "trace.json"], tmp_path / "again")
    assert result.warnings == ("trace.json: 3 events are not as the format wants them and were left out",)
    assert_same(tmp_path / "run", tmp_path / "again")
