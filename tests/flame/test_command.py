"""``deepseek-prof flame``: files, messages, the server's life, and the way in over SSH."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepseek_prof.cli.app import build_app
from deepseek_prof.cli.flame_server import forward_command
from deepseek_prof.exporters import viewer
from tests.flame.drawing import draw
from tests.support.drawn import write_drawn_run
from tests.support.recording import cli_command, environment
from tests.support.synthetic import write_synthetic_run

Flame = Callable[..., Result]


@pytest.fixture
def flame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flame:
    """Runs the command in a folder with the run ``drawn``."""
    monkeypatch.chdir(tmp_path)
    write_drawn_run(tmp_path / ".deepseek-prof" / "drawn", draw, steps=4)

    def run(*words: str) -> Result:
        result = CliRunner().invoke(build_app(), ["flame", *words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def written(path: str) -> list[str]:
    return [profile["name"] for profile in json.loads(Path(path).read_text())["profiles"]]


def test_a_file_holds_all_views_the_layers_first(flame: Flame) -> None:
    result = flame("-o", "out.json")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "Wrote out.json. It opens at https://www.speedscope.app" in result.stderr
    assert written("out.json") == ["layers · host time", "operators · host time"]


def test_a_view_a_query_and_a_timeline(flame: Flame) -> None:
    assert flame("drawn", "-op:aten::add", "phase:forward", "--view", "ops", "-o", "out.json").exit_code == 0
    file = json.loads(Path("out.json").read_text())
    assert written("out.json") == ["operators · host time"]
    assert (file["name"], file["profiles"][0]["endValue"]) == ("drawn · -op:aten::add phase:forward", 280)
    assert flame("--view", "timeline", "step:2", "-o", "out.json").exit_code == 0
    assert written("out.json") == ["thread 4200", "thread 77"]


def test_two_runs(flame: Flame, tmp_path: Path) -> None:
    write_drawn_run(tmp_path / ".deepseek-prof" / "later", draw, steps=6)
    result = flame("drawn", "--diff", "later", "-o", "out.json")
    assert result.exit_code == 0
    assert "fewer than" in result.stderr
    assert written("out.json") == ["before: drawn · host time a step", "after: later · host time a step"]
    assert json.loads(Path("out.json").read_text())["name"] == "drawn → later"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("--view", "kernels"), 2, "No work of accelerators"),
        (("--view", "python"), 2, "run --python-stacks"),
        (("op:nothing",), 2, "Nothing selected"),
        (("colour:red",), 2, "colour"),
        (("--diff", "nowhere"), 2, "nowhere"),
        (("--diff", "drawn", "--view", "timeline"), 2, "choose one of layers, ops, kernels"),
    ],
)
def test_what_does_not_fit_is_said_and_no_file_is_left(
    flame: Flame, words: tuple[str, ...], status: int, message: str
) -> None:
    result = flame(*words, "-o", "out.json")
    assert result.exit_code == status
    assert message in result.stderr
    assert [path.name for path in Path().iterdir()] == [".deepseek-prof"]


def test_the_name_of_the_file_says_how_it_is_written(flame: Flame) -> None:
    assert flame("-o", "out.json").exit_code == 0
    assert flame("-o", "out.json.gz").exit_code == 0
    assert gzip.decompress(Path("out.json.gz").read_bytes()) == Path("out.json").read_bytes()
    piped = flame("-o", "-")
    assert (piped.stdout_bytes, piped.stderr) == (Path("out.json").read_bytes(), "")
    assert sorted(path.name for path in Path().iterdir()) == [".deepseek-prof", "out.json", "out.json.gz"]


@pytest.mark.parametrize("words", [(), ("--view", "layers"), ("--view", "timeline")])
def test_a_run_without_spans_is_not_called_a_matter_of_the_query(
    flame: Flame, tmp_path: Path, words: tuple[str, ...]
) -> None:
    write_drawn_run(tmp_path / ".deepseek-prof" / "empty", lambda rank, step: (), steps=0)
    result = flame("empty", *words, "-o", "out.json")
    assert (result.exit_code, result.stderr) == (2, "deepseek-prof: Nothing to show: this run holds no spans.\n")


def test_a_file_that_cannot_be_written_is_said(flame: Flame) -> None:
    result = flame("-o", "missing/out.json")
    assert result.exit_code == 4
    assert "missing/out.json cannot be written" in result.stderr


def test_removed_spans_that_a_query_cannot_ask_for_are_said(flame: Flame, tmp_path: Path) -> None:
    write_synthetic_run(tmp_path / "evicted", steps=8, layers=1, evicted_steps=3)
    assert "--max-size" in flame("./evicted", "dur>1us", "-o", "out.json").stderr
    assert "--max-size" not in flame("./evicted", "type:matmul", "-o", "out.json").stderr


def test_without_the_viewer_the_message_says_how_to_get_it(flame: Flame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "has_app", lambda: False)
    result = flame()
    assert result.exit_code == 2
    assert "-o flame.speedscope.json" in result.stderr
    assert "https://www.speedscope.app" in result.stderr
    assert "npm" in result.stderr
    assert flame("-o", "out.json").exit_code == 0


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({}, None),
        ({"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.9 22", "USER": "ann"}, "ssh -N -L 8123:127.0.0.1:8123 ann@10.0.0.9"),
        (
            {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.9 2222", "USER": "ann"},
            "ssh -N -p 2222 -L 8123:127.0.0.1:8123 ann@10.0.0.9",
        ),
    ],
)
def test_the_way_in_over_ssh(variables: dict[str, str], command: str | None) -> None:
    assert forward_command(variables, 8123) == command


def test_with_only_a_terminal_of_ssh_the_host_is_named() -> None:
    found = forward_command({"SSH_TTY": "/dev/pts/1", "USER": "ann"}, 8123)
    assert found is not None
    assert found.startswith("ssh -N -L 8123:127.0.0.1:8123 ann@")


@pytest.mark.skipif(not viewer.has_app(), reason="this installation was built without the viewer")
@pytest.mark.parametrize("ssh", [False, True])
def test_it_serves_until_ctrl_c(tmp_path: Path, ssh: bool) -> None:
    write_drawn_run(tmp_path / "run", draw, steps=2)
    opener = tmp_path / "opener"
    opener.write_text(f"#!/bin/sh\necho \"$1\" > '{tmp_path}/opened'\n")
    opener.chmod(0o700)
    login = {"SSH_CONNECTION": "10.0.0.2 50000 10.0.0.9 22", "USER": "ann"}
    variables = {"BROWSER": str(opener), **(login if ssh else {})}
    kept = {key: value for key, value in environment(variables).items() if ssh or not key.startswith("SSH_")}
    process = subprocess.Popen(
        cli_command("flame", "./run"), cwd=tmp_path, env=kept, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stderr is not None
        heard = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\S+/", heard)):
            line = process.stderr.readline()
            assert line, heard
            heard += line
        with urllib.request.urlopen(f"{found[0]}profile.speedscope.json", timeout=30) as answer:
            assert json.load(answer)["profiles"][0]["name"] == "layers · host time"
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert rest == ""
    assert ("ssh -N -L" in heard) == ssh
    assert (tmp_path / "opened").exists() != ssh
