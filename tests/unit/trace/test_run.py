"""Opening a run: the columns of its views, and a clear error that names the file for everything that is damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_prof.errors import DeepseekProfError, RunDamagedError, RunNotFoundError
from deepseek_prof.trace.run import Run
from tests.support.drawn import PID, Draw, gap, module, op, write_drawn_run

DRAW: Draw = lambda rank, step: (module("net", 100, op("aten::mm", 60)), gap(10))  # noqa: E731  # one line says it
VIEWS = {
    "spans": "rank pid tid step phase kind name type layer start_ns dur_ns self_ns context_id device stream bytes "
    "flops shapes",
    "contexts": "context_id parent_id depth kind name type layer phase",
    "counters": "rank ts_ns device name value unit",
    "samples": "rank pid tid ts_ns stack step layer name phase type context_id",
    "sums": "rank pid tid phase kind name type layer context_id count sum_dur_ns sum_self_ns max_dur_ns",
}


def _columns(run: Run, view: str) -> list[str]:
    return [name for name, *_ in run.rows(f"DESCRIBE {view}")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run of two steps."""
    return write_drawn_run(tmp_path / "run", DRAW, steps=2, ranks=2)


def _all_rows(path: Path) -> None:
    with Run.open(path) as run:
        for view in VIEWS:
            run.rows(f"SELECT * FROM {view}")


@pytest.mark.parametrize("view", VIEWS)
def test_views_have_the_documented_columns(path: Path, view: str) -> None:
    with Run.open(path) as run:
        assert _columns(run, view) == VIEWS[view].split()


def test_a_run_without_any_file_has_the_same_columns_and_types(tmp_path: Path, path: Path) -> None:
    with Run.open(path) as full, Run.open(write_drawn_run(tmp_path / "empty", steps=0)) as empty:
        for view in VIEWS:
            assert empty.rows(f"DESCRIBE {view}") == full.rows(f"DESCRIBE {view}")
            assert empty.rows(f"SELECT * FROM {view}") == []


def test_spans_carry_rank_and_pid_of_their_folder_and_what_their_context_says(path: Path) -> None:
    with Run.open(path) as run:
        rows = run.rows(
            "SELECT rank, pid, step, kind, name, type, layer, phase, dur_ns, self_ns FROM spans ORDER BY ALL"
        )
    assert rows == [
        row
        for rank in (0, 1)
        for step in (0, 1)
        for row in (
            (rank, PID + rank, step, "layer", "net", "other", "net", "forward", 100, 40),
            (rank, PID + rank, step, "op", "aten::mm", "matmul", "net", "forward", 60, 60),
            (rank, PID + rank, step, "step", "step", "other", None, "other", 110, 110),
        )
    ]


def test_contexts_of_equal_processes_are_shown_once(path: Path) -> None:
    with Run.open(path) as run:
        assert run.rows("SELECT name, depth FROM contexts ORDER BY name") == [("aten::mm", 1), ("net", 0), ("step", 0)]


def test_an_arrow_table_has_the_same_rows(path: Path) -> None:
    with Run.open(path) as run:
        table = run.table("SELECT name, dur_ns FROM spans WHERE name = ? LIMIT 1", ["aten::mm"])
    assert table.to_pylist() == [{"name": "aten::mm", "dur_ns": 60}]


def test_the_folder_of_a_run_may_be_called_anything(tmp_path: Path) -> None:
    path = write_drawn_run(tmp_path / "it's [rank=7] *?{a,b} pid=1; DROP" / "ü run", DRAW)
    with Run.open(path) as run:
        assert run.rows("SELECT DISTINCT rank, pid FROM spans") == [(0, PID)]


def test_a_half_written_part_does_not_count(path: Path) -> None:
    (path / f"spans/rank=0/pid={PID}/.part-00001.parquet").write_bytes(b"PAR1 half")
    _all_rows(path)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"has no run\.json"):
        Run.open(tmp_path)
    with pytest.raises(RunNotFoundError):
        Run.open(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe", b'{"schema_version": "1"}', b"[" * 100_000])
def test_a_damaged_run_json_is_named(path: Path, content: bytes) -> None:
    (path / "run.json").write_bytes(content)
    with pytest.raises(RunDamagedError, match=r"run\.json") as caught:
        Run.open(path)
    assert str(path / "run.json") in str(caught.value)
    assert caught.value.exit_status == 3


def test_a_newer_schema_says_to_upgrade(path: Path) -> None:
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(info | {"schema_version": 99}))
    with pytest.raises(RunDamagedError, match=r"run\.json is of schema version 99; .*Upgrade"):
        Run.open(path)


@pytest.mark.parametrize("folder", ["spans", "contexts", "sums", "counters"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + b"\0" * 50 + b"PAR1"])
def test_a_damaged_file_is_named(path: Path, folder: str, content: bytes) -> None:
    damaged = path / folder / "rank=0" / f"pid={PID}.parquet"
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(content)
    with pytest.raises(RunDamagedError) as caught:
        _all_rows(path)
    assert str(damaged) in str(caught.value)
    assert "Move that file away" in str(caught.value)


def test_a_file_of_other_columns_is_named(path: Path) -> None:
    (contexts,) = path.glob("contexts/rank=0/*.parquet")
    foreign = path / "spans/rank=0/pid=5/part-00000.parquet"
    foreign.parent.mkdir()
    foreign.write_bytes(contexts.read_bytes())
    with pytest.raises(RunDamagedError) as caught:
        _all_rows(path)
    assert str(foreign) in str(caught.value)


def test_bytes_damaged_in_the_middle_are_named_when_they_are_read(path: Path) -> None:
    (part,) = path.glob("spans/rank=1/*/part-00000.parquet")
    data = bytearray(part.read_bytes())
    data[4:400] = b"\xff" * 396
    part.write_bytes(bytes(data))
    with pytest.raises(RunDamagedError) as caught:
        _all_rows(path)
    assert str(part) in str(caught.value)


def test_a_truncated_file_is_named(path: Path) -> None:
    (part,) = path.glob("spans/rank=0/*/part-00000.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(RunDamagedError, match="not a complete Parquet file") as caught:
        Run.open(path)
    assert str(part) in str(caught.value)


def test_a_missing_contexts_file_is_named(path: Path) -> None:
    (contexts,) = path.glob("contexts/rank=1/*.parquet")
    contexts.unlink()
    with pytest.raises(RunDamagedError, match="is missing") as caught:
        Run.open(path)
    assert str(contexts) in str(caught.value)


def test_spans_that_were_removed_are_missed(path: Path) -> None:
    shutil.rmtree(path / "spans")
    with pytest.raises(RunDamagedError, match=r"spans holds no spans, but run\.json counts 12"):
        Run.open(path)


def test_a_run_that_is_still_recorded_may_lack_its_spans(tmp_path: Path) -> None:
    path = write_drawn_run(tmp_path / "run", steps=0, info={"status": "running", "spans": {"count": 5}})
    _all_rows(path)


def test_a_wrong_query_is_not_blamed_on_a_file(path: Path) -> None:
    with Run.open(path) as run, pytest.raises(Exception, match="nonsense") as caught:
        run.rows("SELECT nonsense FROM spans")
    assert not isinstance(caught.value, DeepseekProfError)


@pytest.mark.parametrize("odd", [None, 5, "x", {}, [1, None, "x", []]])
def test_odd_lists_of_run_json_are_read_as_empty(tmp_path: Path, odd: object) -> None:
    path = write_drawn_run(tmp_path / "run", info={"processes": odd, "warnings": odd})
    with Run.open(path) as run:
        assert run.processes == []
        assert run.listed("warnings") == (odd if isinstance(odd, list) else [])


def test_opening_a_run_imports_neither_torch_nor_pyarrow(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from deepseek_prof.trace.run import Run\n"
        "with Run.open(Path(sys.argv[1])) as run: run.rows('SELECT count(*) FROM spans')\n"
        "print([name for name in ('torch', 'pyarrow', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
