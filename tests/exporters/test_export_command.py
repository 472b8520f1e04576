"""``deepseek-prof export``: where it writes, what it refuses, and what it leaves when it is ended."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepseek_prof.cli.app import build_app
from deepseek_prof.exporters import registry
from tests.support.drawn import write_drawn_run
from tests.support.exported import exported, training_step
from tests.support.recording import TIMEOUT_S, cli_command, environment, run_cli
from tests.support.synthetic import write_synthetic_run

FORMATS = ("chrome", "jsonl", "parquet", "perfetto", "pprof")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of three steps, the newest of the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_drawn_run(tmp_path / ".deepseek-prof" / "train", training_step, steps=3)


def export(*words: str) -> Result:
    return CliRunner().invoke(build_app(), ["export", *words])


def test_without_a_name_the_file_is_called_after_the_run(run_dir: Path, tmp_path: Path) -> None:
    for name in FORMATS:
        result = export(name)
        assert result.exit_code == 0, result.output
        assert result.stdout == ""
        assert "wrote train." in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "train.jsonl",
        "train.parquet",
        "train.pb.gz",
        "train.pftrace",
        "train.trace.json.gz",
    ]
    assert (tmp_path / "train.pb.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert gzip.decompress((tmp_path / "train.trace.json.gz").read_bytes()) == exported(run_dir, "chrome")


def test_a_name_that_would_lead_elsewhere_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_drawn_run(tmp_path / "run", training_step, info={"name": "../../x/\x1b[31m"})
    assert export("jsonl", str(tmp_path / "run")).exit_code == 0
    (made,) = (tmp_path / "here").iterdir()
    assert made.name == "_.._x_\\x1b[31m.jsonl"


def test_run_and_query_select(run_dir: Path, tmp_path: Path) -> None:
    for words in (
        ["jsonl", "train", "type:optimizer"],
        ["jsonl", "type:optimizer"],
        ["jsonl", "train", "-type:matmul", "-type:other"],
        ["jsonl", "--run", "train", "--query", "type:optimizer"],
    ):
        result = export(*words, "-o", "out.jsonl", "--force")
        assert result.exit_code == 0, result.output
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [row["op"] for row in rows] == ["Optimizer.step#SGD.step"] * 3


def test_a_file_is_replaced_only_when_asked(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("mine")
    result = export("jsonl", "-o", "mine.jsonl")
    assert result.exit_code == 4
    assert "mine.jsonl exists already" in result.stderr
    assert (tmp_path / "mine.jsonl").read_text() == "mine"
    assert export("jsonl", "-o", "mine.jsonl", "--force").exit_code == 0
    assert (tmp_path / "mine.jsonl").read_bytes() == exported(run_dir, "jsonl")


def test_a_failed_export_leaves_the_file_that_was_there(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text("mine")
    result = export("jsonl", "op:nothing", "-o", "mine.jsonl", "--force")
    assert result.exit_code == 2
    assert "There is nothing to export of train: no span matches 'op:nothing'." in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".deepseek-prof", "mine.jsonl"]
    assert (tmp_path / "mine.jsonl").read_text() == "mine"


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_run_has_nothing_to_export(tmp_path: Path, name: str) -> None:
    result = export(name, str(write_drawn_run(tmp_path / "run", steps=0)), "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "it holds no spans" in result.stderr
    assert not (tmp_path / "out").exists()


def test_quiet_says_nothing(run_dir: Path) -> None:
    assert export("jsonl", "--quiet").stderr == ""


@pytest.mark.parametrize("name", FORMATS)
def test_standard_output_is_the_file_alone(run_dir: Path, tmp_path: Path, name: str) -> None:
    done = run_cli("export", name, "-o", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == exported(run_dir, name)
    assert done.stderr == b""


def test_a_closed_pipe_is_a_quiet_end(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=100, layers=2)
    with subprocess.Popen(
        cli_command("export", "jsonl", str(run.path), "-o", "-"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(TIMEOUT_S) == 0


def test_an_unknown_format_and_one_that_cannot_be_written(run_dir: Path, tmp_path: Path) -> None:
    result = export("pdf")
    assert result.exit_code == 2
    assert "No format 'pdf'. There are: chrome," in result.stderr
    result = export("jsonl", "-o", "nowhere/x.jsonl")
    assert result.exit_code == 4
    assert "nowhere/x.jsonl cannot be written" in result.stderr


def test_without_its_package_perfetto_names_it(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    result = export("perfetto")
    assert result.exit_code == 2
    assert "pip install 'deepseek-prof[perfetto]'" in result.stderr


def test_help_lists_the_formats_and_survives_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = registry.available()
    broken = EntryPoint("broken", "no_such_module:Exporter", registry.GROUP)
    monkeypatch.setattr(registry, "available", lambda: {**installed, "broken": broken})
    result = export("--help")
    assert result.exit_code == 0
    for name in (*FORMATS, "speedscope", "collapsed", "html"):
        assert f"\n  {name} " in result.stdout
    assert "cannot be loaded: No module named 'no_such_module'" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom deepseek_prof.cli.app import build_app\n"
        "assert CliRunner().invoke(build_app(), ['export', '--help']).exit_code == 0\n"
        "print(sorted({'duckdb', 'pyarrow', 'numpy', 'torch', 'perfetto'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=TIMEOUT_S)
    assert done.stdout == b"[]\n"


def test_progress_is_told_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=700)
    (tmp_path / "out").mkdir()
    with subprocess.Popen(
        cli_command("export", "perfetto", str(run.path), "-o", str(tmp_path / "out" / "x.pftrace.gz")),
        env=environment(),
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().endswith(b" written\n")
            assert len(list((tmp_path / "out").iterdir())) == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_S) == 130
        finally:
            process.kill()
    assert list((tmp_path / "out").iterdir()) == []
