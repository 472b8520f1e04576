"""``load`` and what it opens; ``profile`` and ``annotate`` in a program of their own."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import pytest

import deepseek_prof
from deepseek_prof.errors import QueryError, RunDamagedError, RunNotFoundError, UsageError
from deepseek_prof.recording.converter import LOCK_NAME
from tests.support.drawn import PID, module, op, write_drawn_run
from tests.support.recording import run_words, write_program
from tests.support.synthetic import write_synthetic_run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two steps of a layer with an operator."""
    return write_drawn_run(tmp_path / "run", lambda rank, step: (module("net", 100, op("aten::mm", 60)),), steps=2)


def test_load_by_directory_name_and_latest(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = write_drawn_run(tmp_path / ".deepseek-prof" / "a", info={"name": "baseline"})
    for run, expected in ((path, path), (str(path), path), ("baseline", named), ("latest", named), (None, named)):
        with deepseek_prof.load(run) as loaded:
            assert loaded.path == expected
    with pytest.raises(RunNotFoundError):
        deepseek_prof.load("nothing")


def test_spans_as_arrow(path: Path) -> None:
    with deepseek_prof.load(path) as run:
        spans = run.spans()
        matmul = run.spans("type:matmul step:1")
    columns = (
        "rank pid tid step phase kind name type layer start_ns dur_ns self_ns context_id device stream bytes flops"
    )
    assert spans.column_names[:17] == columns.split()
    assert spans.num_rows == 6
    assert spans["start_ns"].to_pylist() == sorted(spans["start_ns"].to_pylist())
    assert [(row["name"], row["pid"], row["layer"]) for row in matmul.to_pylist()] == [("aten::mm", PID, "net")]


def test_spans_of_a_run_without_any_have_the_columns_too(tmp_path: Path, path: Path) -> None:
    with deepseek_prof.load(path) as full, deepseek_prof.load(write_drawn_run(tmp_path / "empty", steps=0)) as empty:
        assert empty.spans().schema == full.spans().schema
        assert empty.spans().num_rows == 0
        assert empty.top().rows == ()
        assert empty.findings() == ()


def test_top(path: Path) -> None:
    with deepseek_prof.load(path) as run:
        assert [(row.name, row.count, row.self_ns) for row in run.top().rows] == [("aten::mm", 2, 120)]
        assert [row.total_ns for row in run.top(by="layer").rows] == [200]
        assert run.top(by="op", query="op:none").rows == ()
        assert len(run.top(by="step", sort="total", limit=1).rows) == 1
        with pytest.raises(UsageError):
            run.top(by="colour")
        with pytest.raises(QueryError):
            run.spans("op:")


def test_findings(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path / "run", steps=30, layers=2, data_us=5_000)
    with deepseek_prof.load(tmp_path / "run") as run:
        found = run.findings()
    assert "data" in found[0].rule
    assert found[0].evidence
    assert 0 < found[0].gain_low <= found[0].gain_high <= 1


def test_info_is_a_copy(path: Path) -> None:
    with deepseek_prof.load(path) as run:
        run.info.clear()
        assert run.info["name"] == "run"


def test_a_damaged_file_is_named_when_its_spans_are_read(path: Path) -> None:
    (part,) = path.glob("spans/*/*/part-00000.parquet")
    data = bytearray(part.read_bytes())
    data[4:400] = b"\xff" * 396
    part.write_bytes(bytes(data))
    with pytest.raises(RunDamagedError, match="part-00000") as caught, deepseek_prof.load(path) as run:
        run.spans()
    assert str(part) in str(caught.value)


def test_a_run_that_was_cut_off_is_converted_first(path: Path) -> None:
    (path / "live").mkdir()
    with deepseek_prof.load(path) as run:
        assert run.info["status"] == "recovered"


def test_a_run_that_is_being_recorded_is_opened_with_a_warning(path: Path) -> None:
    (path / "live").mkdir()
    with (path / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.warns(UserWarning, match="still being recorded"):
            deepseek_prof.load(path).close()


def test_the_package_has_what_it_announces() -> None:
    for name in deepseek_prof.__all__:
        assert getattr(deepseek_prof, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = deepseek_prof.nothing


def test_annotate_costs_nothing_where_nothing_is_recorded() -> None:
    import contextlib

    import deepseek_prof.collectors.child  # as after a recording that has ended

    assert isinstance(deepseek_prof.annotate("part"), contextlib.nullcontext)


PROGRAM = """
    import sys
    from pathlib import Path
    import torch
    import deepseek_prof
    from deepseek_prof.errors import OutputError, RecorderError, UsageError

    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    original = torch.nn.Module.__call__

    def train(steps):
        for _ in range(steps):
            with deepseek_prof.annotate("my part"):
                net(torch.ones(4, 8)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    @deepseek_prof.annotate("decorated")  # before anything records
    def decorated(x):
        return x + 1

    @torch.compile(backend="eager", fullgraph=True)  # a graph break is an error
    def compiled(x):
        with deepseek_prof.annotate("compiled"):
            return x + 1

    train(1)
    compiled(decorated(torch.ones(3)))
    for number in (1, 2):
        with deepseek_prof.profile(output=f"run{number}") as profile:
            train(3 * number)
            compiled(decorated(torch.ones(3)))
            try:
                with deepseek_prof.profile(output="inner"):
                    raise AssertionError("recorded twice")
            except RecorderError as error:
                assert "recorded already" in str(error), error
        train(5)
        assert torch.nn.Module.__call__ is original
        with profile.run() as run:
            assert run.info["status"] == "finished", run.info["status"]
            steps = {row.name: row.count for row in run.top("op", "kind:user").rows}
            assert steps["my part"] == steps["Optimizer.step#SGD.step"] == 3 * number, steps
            assert steps["decorated"] == 1, steps
            assert run.spans("op:aten::addmm").num_rows == 3 * number
            layers = {row.name for row in run.top("layer").rows}
            assert len(layers) == 3, layers
            assert max(run.spans("kind:step")["step"].to_pylist()) == 3 * number - 1
    assert not Path("inner").exists()
    try:
        with deepseek_prof.profile(output="run1"):
            raise AssertionError("overwritten")
    except OutputError:
        pass
    try:
        with deepseek_prof.profile(output="failing", record="layers"):
            train(2)
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with deepseek_prof.load("failing") as run:
        assert run.top("layer").rows and not run.spans("op:aten::addmm").num_rows
    try:
        with deepseek_prof.profile(output="odd", record="everything"):
            raise AssertionError("recorded")
    except UsageError as error:
        assert "everything" in str(error)
    assert not Path("odd").exists()
    print("done")
"""


def test_profile_in_a_program_of_its_own(tmp_path: Path) -> None:
    # A file of the user that is called as a module of ours or of Python must not be run by the converter.
    (tmp_path / "queue.py").write_text("raise SystemExit('imported')")
    program = write_program(tmp_path / "code", PROGRAM)
    done = run_words([sys.executable, str(program)], cwd=tmp_path)
    assert (done.stdout, done.stderr.decode()) == (b"done\n", "")
