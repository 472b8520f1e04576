"""``run --live`` in a real terminal: the program is unharmed, and the terminal is the user's again afterwards."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recording import cli_command, environment, open_run, run_cli, write_program
from tests.support.tmux import PROMPT, Tmux

COMMAND = f"{shlex.quote(sys.executable)} -m deepseek_prof"

TRAINS = """
    import os, sys
    import torch
    print("\\x1b[32mgreen\\x1b[0m", sys.stdout.isatty(), os.getsid(0) == os.getpid(), flush=True)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    while (text := input("steps? ")) != "0":
        for step in range(int(text)):
            optimizer.zero_grad()
            model(torch.ones(4, 8)).sum().backward()
            optimizer.step()
            print(f"\\rstep {step}", end="")
        print(" trained")
    sys.exit(7)
"""

TALKS = """
    import os, signal, sys, time

    def told(number, frame):
        print("told", signal.Signals(number).name, *os.get_terminal_size(), flush=True)
        if number != signal.SIGWINCH:
            sys.exit(6)

    for name in sys.argv[1:]:
        signal.signal(getattr(signal, name), told)
    print("READY", flush=True)
    if not sys.argv[1:]:
        print("hello", input("name? "))
    while True:
        time.sleep(0.01)
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    # Wide enough for the words that stand beside each other on the screen.
    with Tmux(tmp_path, environment({"XDG_STATE_HOME": str(tmp_path / "state")}), columns=100, lines=30) as shell:
        yield shell


def run_live(terminal: Tmux, program: Path, *words: str, options: str = "") -> None:
    """Start ``program`` in the view, its run in ``run``."""
    terminal.write(f"{COMMAND} run --live {options} --output run {program} {' '.join(words)}")
    terminal.press("Enter")
    terminal.wait_for("Output")


def left_sane(terminal: Tmux, before: str, status: int) -> None:
    """The shell has its terminal back as it was, and the command ended with ``status``."""
    terminal.wait_for_prompt()  # what is typed while the view gives the terminal back may be thrown away
    terminal.write("echo status=$? settings=$(stty -g).")
    terminal.press("Enter")
    terminal.wait_for(f"status={status} settings={before}.")
    assert [terminal.state(name) for name in ("alternate_on", "cursor_flag", "mouse_any_flag")] == ["0", "1", "0"]


def settings(terminal: Tmux) -> str:
    terminal.write("stty -g")
    terminal.press("Enter")
    lines = terminal.wait_for(":").splitlines()
    return next(line.strip() for line in lines if line.count(":") > 5)


def plain(output: bytes) -> str:
    return re.sub(r"\x1b\[[0-9]*m", "", output.decode().replace("\r\n", "\n"))


def test_run_is_seen_while_it_goes_on_and_keys_reach_the_program(terminal: Tmux, tmp_path: Path) -> None:
    before = settings(terminal)
    run_live(terminal, write_program(tmp_path, TRAINS))
    terminal.wait_for("green True True")
    terminal.wait_for("steps?")
    terminal.press("i")
    terminal.wait_for("keys go to")
    terminal.write("5")
    terminal.press("Enter")
    terminal.wait_for("step 4 trained")
    terminal.press("F2")
    terminal.wait_for("i types to it")
    terminal.press("2")
    shown = terminal.wait_for("aten::addmm")  # a few dozen spans, none of them converted yet
    assert "recording" in shown
    assert not list((tmp_path / "run" / "spans").glob("**/part-*.parquet"))
    terminal.press("9")
    terminal.wait_for("i types to it")
    terminal.press("i")
    terminal.wait_for("keys go to")
    terminal.write("0")
    terminal.press("Enter")
    terminal.wait_for("program: exit status 7")
    terminal.wait_for("finished")
    terminal.wait_until_gone("keys go to")  # a moment later, so that what is typed to a program that ends is no command
    terminal.press("q")
    shown = terminal.wait_for(PROMPT + "$")
    assert "step 4 trained" in terminal.wait_for("recorded")
    left_sane(terminal, before, 7)
    output = plain((tmp_path / "run" / "output.log").read_bytes())
    steps = "".join(f"\rstep {step}" for step in range(5))
    assert output == f"green True True\nsteps? 5\n{steps} trained\nsteps? 0\n"
    with open_run(tmp_path / "run") as run:
        assert (run.info["status"], run.info["exit_code"]) == ("finished", 7)
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'step'") == [(5,)]


def test_left_program_runs_on_in_the_plain_terminal(terminal: Tmux, tmp_path: Path) -> None:
    before = settings(terminal)
    run_live(terminal, write_program(tmp_path, TALKS), options="--recorder kineto")
    terminal.wait_for("name?")
    terminal.press("q")
    terminal.wait_for("still runs")
    terminal.press("Escape")
    terminal.wait_until_gone("still runs")
    terminal.press("q")
    terminal.wait_for("still runs")
    terminal.press("l")
    terminal.wait_until_gone("Overview")
    assert "READY" in terminal.wait_for("name?")
    assert terminal.state("alternate_on") == "0"
    terminal.write("ada")
    terminal.press("Enter")
    terminal.wait_for("hello ada")
    terminal.press("C-c")
    terminal.wait_for("KeyboardInterrupt")
    terminal.wait_for("nothing was recorded")
    left_sane(terminal, before, 130)


def test_ctrl_c_twice_interrupts_the_program(terminal: Tmux, tmp_path: Path) -> None:
    before = settings(terminal)
    run_live(terminal, write_program(tmp_path, TALKS), "SIGINT", options="--recorder kineto")
    terminal.wait_for("READY")
    terminal.press("C-c")
    terminal.wait_for("still runs")
    terminal.press("C-c")
    terminal.wait_for("told SIGINT")
    terminal.wait_for("nothing was recorded")
    left_sane(terminal, before, 6)


def test_program_learns_its_size(terminal: Tmux, tmp_path: Path) -> None:
    run_live(terminal, write_program(tmp_path, TALKS), "SIGWINCH", "SIGTERM", options="--recorder kineto")
    terminal.wait_for("READY")
    terminal.resize(90, 25)
    terminal.wait_for("told SIGWINCH 89 ")  # beside the bar
    terminal.press("q")
    terminal.wait_for("still runs")
    terminal.press("l")
    terminal.wait_for("told SIGWINCH 90 25")
    terminal.resize(70, 20)
    terminal.wait_for("told SIGWINCH 70 20")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_to_us_ends_the_view_and_reaches_the_program(name: str, terminal: Tmux, tmp_path: Path) -> None:
    before = settings(terminal)
    run_live(terminal, write_program(tmp_path, TALKS), name, options="--recorder kineto")
    terminal.wait_for("READY")
    terminal_pid = int(terminal.state("pane_pid"))
    ours = subprocess.run(["pgrep", "-P", str(terminal_pid)], capture_output=True, text=True, check=True).stdout
    os.kill(int(ours.split()[0]), getattr(signal, name))
    terminal.wait_for(f"told {name}")
    terminal.wait_for("nothing was recorded")
    left_sane(terminal, before, 6)


def test_closed_window_hangs_the_program_up_and_the_run_is_whole(tmp_path: Path) -> None:
    program = write_program(tmp_path, TRAINS)
    with Tmux(tmp_path, environment({"XDG_STATE_HOME": str(tmp_path / "state")}), columns=100, lines=30) as shell:
        run_live(shell, program)
        shell.wait_for("steps?")
        ours = subprocess.run(["pgrep", "-P", shell.state("pane_pid")], capture_output=True, text=True, check=True)
    while Path("/proc", ours.stdout.split()[0]).exists():
        os.sched_yield()
    with open_run(tmp_path / "run") as run:
        assert (run.info["status"], run.info["signal"]) == ("finished", "SIGHUP")


def test_without_a_terminal_it_is_refused(tmp_path: Path) -> None:
    program = write_program(tmp_path, TALKS)
    done = run_cli("run", "--live", "--output", "run", str(program), cwd=tmp_path)
    assert done.returncode == 2
    assert b"--live needs a terminal, and standard input is none" in done.stderr
    assert done.stdout == b""
    assert not (tmp_path / "run").exists()


def test_run_of_another_terminal_is_followed_to_its_end(terminal: Tmux, tmp_path: Path) -> None:
    program = write_program(tmp_path, TRAINS)
    words = cli_command("run", "-q", "--output", "run", str(program))
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert "False" in process.stdout.readline()
            terminal.write(f"{COMMAND} tui run")
            terminal.press("Enter")
            terminal.wait_for("recording")
            terminal.press("2")
            process.stdin.write("5\n")
            process.stdin.flush()
            terminal.wait_for("aten::addmm")
            process.stdin.write("0\n")
            process.stdin.flush()
            shown = terminal.wait_for("finished, exit status 7")
            assert "aten::addmm" in shown
            terminal.press("9")
            terminal.wait_for("went to its own terminal")
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 7
