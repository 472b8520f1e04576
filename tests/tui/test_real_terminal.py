"""The app in a real terminal, through tmux: start, filter, panes, resize, leave; the terminal is as it was."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recording import environment, run_cli
from tests.support.tmux import PROMPT, Tmux
from tests.tui.drawing import write_hostile_run, write_usual_run

COMMAND = f"{shlex.quote(sys.executable)} -m deepseek_prof tui"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(tmp_path, environment({"XDG_STATE_HOME": str(tmp_path / "state")})) as shell:
        yield shell


def leaves_the_terminal_sane(terminal: Tmux, before: str) -> None:
    terminal.write("echo sta''tus=$?; stty -g")
    terminal.press("Enter")
    shown = terminal.wait_for("status=")
    assert "status=0" in shown
    assert before in terminal.wait_for(before)
    assert terminal.state("alternate_on") == "0"
    assert terminal.state("cursor_flag") == "1"
    assert terminal.state("mouse_any_flag") == "0"
    terminal.write("echo visible")
    assert "echo visible" in terminal.wait_for("echo visible")


def settings(terminal: Tmux) -> str:
    terminal.write("stty -g")
    terminal.press("Enter")
    lines = terminal.wait_for(":").splitlines()
    return next(line.strip() for line in lines if line.count(":") > 5)


def test_start_filter_switch_resize_and_leave(terminal: Tmux, tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")
    before = settings(terminal)
    terminal.write(f"{COMMAND} {run}")
    terminal.press("Enter")
    terminal.wait_for("Phases")
    assert terminal.state("alternate_on") == "1"
    terminal.press("2")
    assert "aten::mm" in terminal.wait_for("aten::conv2d")
    terminal.write("/type:matmul")
    terminal.press("Enter")
    shown = terminal.wait_until_gone("aten::conv2d")
    assert "aten::mm" in shown
    assert "16 spans" in terminal.wait_for("16 spans")
    terminal.press("3")
    terminal.wait_for("net")
    terminal.press("4")
    terminal.wait_for("layers")
    terminal.resize(120, 40)
    terminal.wait_for("operator type")  # the facets come where there is room
    terminal.resize(50, 12)
    terminal.wait_for("16 lines")
    terminal.resize(80, 24)
    terminal.wait_for("Flame")
    terminal.press("?")
    terminal.wait_for("Everywhere")
    terminal.press("Escape")
    terminal.wait_until_gone("Everywhere")
    terminal.press("q")
    terminal.wait_for(PROMPT)
    leaves_the_terminal_sane(terminal, before)


def test_hostile_names_reach_the_terminal_as_text(terminal: Tmux, tmp_path: Path) -> None:
    run = write_hostile_run(tmp_path / "run")
    before = settings(terminal)
    terminal.write(f"{COMMAND} {run}")
    terminal.press("Enter")
    terminal.wait_for("Phases")
    for pane, text in (("2", "\\x1b"), ("3", "[bold"), ("6", "record 1 of")):
        terminal.press(pane)
        terminal.wait_for(text)
    terminal.press("q")
    terminal.wait_for(PROMPT)
    leaves_the_terminal_sane(terminal, before)


def test_without_a_terminal_it_says_what_to_use(tmp_path: Path) -> None:
    done = run_cli("tui", str(write_usual_run(tmp_path / "run")))
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr
    assert done.stdout == b""


def test_a_query_that_does_not_parse_is_told_before_anything_is_drawn(terminal: Tmux, tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")
    terminal.write(f"{COMMAND} {run} stp:3; echo status=$?")
    terminal.press("Enter")
    shown = terminal.wait_for("status=2")
    assert 'did you mean "step"' in shown
    assert terminal.state("alternate_on") == "0"
