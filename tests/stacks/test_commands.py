"""What the commands show of Python stacks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepseek_prof.api import load
from deepseek_prof.cli.app import build_app
from deepseek_prof.config import RunSettings, load_settings
from deepseek_prof.errors import UsageError
from tests.support.drawn import module, op, write_drawn_run


def invoke(*words: str, width: int = 160) -> Result:
    return CliRunner().invoke(build_app(), list(words), env={"COLUMNS": str(width)})


def output(*words: str, width: int = 160) -> str:
    result = invoke(*words, width=width)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_top_by_python_has_the_shape_of_top(slow_layer: Path) -> None:
    found = json.loads(output("top", str(slow_layer), "--by", "python", "--format", "json", "layer:slow busy"))
    others = json.loads(output("top", str(slow_layer), "--format", "json", "-n", "1"))
    assert list(found[0]) == list(others[0])
    assert found[0]["name"].startswith("busy (")
    assert found[0]["layer"] == "slow"
    assert found[0]["self_ns"] == found[0]["backward_ns"] == found[0]["count"] * 10_000_000
    assert found[0]["share"] == 1.0
    rows = list(
        csv.DictReader(io.StringIO(output("top", str(slow_layer), "--by", "python", "--format", "csv", "busy")))
    )
    assert rows[0]["name"] == found[0]["name"]


def test_the_table_shows_samples_and_layers(slow_layer: Path) -> None:
    shown = output("top", str(slow_layer), "--by", "python", "phase:backward")
    assert "samples" in shown
    assert "slow" in shown
    assert "of sampled time" in shown
    narrow = output("top", str(slow_layer), "--by", "python", "phase:backward", width=60)
    assert max(map(len, narrow.splitlines())) <= 60


def test_the_api_groups_by_python_too(slow_layer: Path) -> None:
    with load(slow_layer) as run:
        (row,) = run.top("python", "prepare", sort="total", limit=1).rows
        assert row.total_ns > 0


def test_logs_show_the_frame_within_an_operator(slow_layer: Path) -> None:
    lines = output("logs", str(slow_layer), "op:SlowBackward", "--fields", "op,python", "--format", "json").splitlines()
    frames = [json.loads(line)["python"] for line in lines]
    assert len(frames) == 20
    assert sum(str(frame).startswith("busy (") for frame in frames) >= 10
    assert all(frame is None or " (" in frame for frame in frames)


def test_logs_without_that_field_have_no_frames(slow_layer: Path) -> None:
    assert "python" not in json.loads(output("logs", str(slow_layer), "--format", "json", "-n", "1"))


def test_sql_reads_samples(slow_layer: Path) -> None:
    statement = "select step, count(*) as n from samples where layer = 'slow' group by step"
    assert json.loads(output("sql", str(slow_layer), "--format", "json", statement))


@pytest.mark.parametrize("words", [("top", "--by", "python"), ("logs", "--fields", "op,python")], ids=["top", "logs"])
def test_without_samples_a_command_says_how_to_get_them(tmp_path: Path, words: tuple[str, ...]) -> None:
    run_dir = write_drawn_run(tmp_path / "run", lambda rank, step: [module("net", 100, op("aten::mm", 50))])
    result = invoke(words[0], str(run_dir), *words[1:])
    assert result.exit_code == 2
    assert "run --python-stacks" in result.stderr


def test_samples_have_not_every_field(slow_layer: Path) -> None:
    result = invoke("top", str(slow_layer), "--by", "python", "dur>1ms")
    assert result.exit_code == 2
    assert 'samples of Python stacks, which have no field "dur"' in result.stderr


def test_frames_are_not_known_while_the_program_runs(slow_layer: Path) -> None:
    result = invoke("logs", str(slow_layer), "--follow", "--fields", "op,python")
    assert result.exit_code == 2
    assert "--follow" in result.stderr


def test_doctor_says_which_sampler_is_used() -> None:
    checks = {check["name"]: check for check in json.loads(output("doctor", "--no-build", "--format", "json"))}
    assert checks["Python stacks"]["state"] == "ok"
    assert "py-spy" in checks["Python stacks"]["found"]


def test_settings_of_stacks(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.deepseek-prof]\npython-stacks = true\nstacks-rate = 250\n")
    settings = load_settings({}, directory=tmp_path)
    assert (settings.python_stacks, settings.stacks_rate_hz, settings.native_stacks) == (True, 250, False)
    assert load_settings({"stacks-rate": "7"}, "native-stacks", directory=tmp_path).stacks_rate_hz == 7
    assert RunSettings().python_stacks is False


@pytest.mark.parametrize("rate", ["0", "1001", "-5", "many", "1.5", ""])
def test_rates_that_cannot_be(rate: str) -> None:
    with pytest.raises(UsageError, match="--stacks-rate"):
        load_settings({"stacks-rate": rate}, "python-stacks", directory=Path("/"))


def test_native_frames_need_stacks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--python-stacks"):
        load_settings({}, "native-stacks", directory=Path("/"))
