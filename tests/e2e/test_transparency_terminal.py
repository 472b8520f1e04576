"""Terminals, Ctrl-C and signals reach a recorded program as they do a bare one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.recording import cli_command, environment, open_run, without_narration, write_program
from tests.support.terminal import Terminal

TALKS = """
    import os, sys, torch
    torch.ones(2).sum()
    print([stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)], os.ttyname(0) == os.ttyname(2))
    print(os.tcgetpgrp(0) == os.getpgrp(), os.get_terminal_size())
    print(input("name? ").upper())
"""

WORKS = """
    import os, signal, sys, torch

    def told(number, frame):
        print(f"told {signal.Signals(number).name}", flush=True)
        sys.exit(6)

    handled = sys.argv[1:]
    for name in handled:
        signal.signal(getattr(signal, name), told)
    torch.mm(torch.ones(4, 4), torch.ones(4, 4))
    try:
        print("READY", flush=True)
        while True:
            torch.mm(torch.ones(4, 4), torch.ones(4, 4))
    except KeyboardInterrupt:
        print("caught the interrupt", flush=True)
        raise
"""


def _on_terminal(words: list[str], folder: Path, *keys: bytes) -> tuple[bytes, int]:
    with Terminal(words, folder, environment()) as terminal:
        for prompt, key in zip(keys[::2], keys[1::2], strict=True):
            terminal.wait_for(prompt)
            terminal.press(key)
        return terminal.end()


def test_program_talks_to_the_terminal(tmp_path: Path) -> None:
    program = write_program(tmp_path, TALKS)
    bare, bare_status = _on_terminal([sys.executable, str(program)], tmp_path, b"name? ", b"ada\n")
    words = cli_command("run", "--output", "run", str(program))
    recorded, status = _on_terminal(words, tmp_path, b"name? ", b"ada\n")
    assert without_narration(recorded) == bare
    assert status == bare_status == 0
    assert b"[True, True, True] True\nTrue os.terminal_size(" in bare


@pytest.mark.parametrize("handled", [[], ["SIGINT"]])
def test_interrupt_key_reaches_the_program_once_and_the_run_is_whole(handled: list[str], tmp_path: Path) -> None:
    program = write_program(tmp_path, WORKS)
    words = [str(program), *handled]
    bare, bare_status = _on_terminal([sys.executable, *words], tmp_path, b"READY", b"\x03")
    recorded, status = _on_terminal(cli_command("run", "--output", "run", *words), tmp_path, b"READY", b"\x03")
    assert status == bare_status == (6 if handled else -signal.SIGINT)
    assert recorded.count(b"told SIGINT") == bare.count(b"told SIGINT") == len(handled)
    assert recorded.count(b"caught the interrupt") == bare.count(b"caught the interrupt") == 1 - len(handled)
    assert recorded.count(b"Traceback") == bare.count(b"Traceback")
    with open_run(tmp_path / "run") as run:
        assert run.info["status"] == "finished"
        assert run.info["signal"] == (None if handled else "SIGINT")
        assert run.rows("SELECT count(*) > 0 FROM spans WHERE name = 'aten::mm'") == [(True,)]
        assert run.info["dropped"] == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize("handled", [True, False])
def test_signals_sent_to_us_reach_the_program(name: str, handled: bool, tmp_path: Path) -> None:
    program = write_program(tmp_path, WORKS)
    words = cli_command("run", "-q", "--output", "run", str(program), *([name] if handled else []))
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"READY\n"
            os.kill(process.pid, getattr(signal, name))
            rest = process.stdout.read()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == (6 if handled else -getattr(signal, name))
    assert rest.count(b"told") == int(handled)
    with open_run(tmp_path / "run") as run:
        assert run.info["status"] == "finished"
        assert run.rows("SELECT count(*) > 0 FROM spans WHERE name = 'aten::mm'") == [(True,)]
