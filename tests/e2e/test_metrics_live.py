"""``run --live`` with metrics: served while the view has the terminal, told on it, and shown in the Overview."""

from __future__ import annotations

import shlex
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_metrics import TRAINS_UNTIL_TOLD
from tests.support.recording import TIMEOUT_S, environment, write_program
from tests.support.tmux import Tmux

COMMAND = f"{shlex.quote(sys.executable)} -m deepseek_prof"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    """A shell in a terminal that is large enough for the whole Overview."""
    with Tmux(tmp_path, environment({"XDG_STATE_HOME": str(tmp_path / "state")}), columns=160, lines=50) as shell:
        yield shell


def test_metrics_of_a_live_run(terminal: Tmux, tmp_path: Path) -> None:
    program = write_program(tmp_path, TRAINS_UNTIL_TOLD)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--metrics-port {port} --alert 'throughput > 0' --alert-exit-status 9 --output run"
    terminal.write(f"{COMMAND} run --live {options} {program} {tmp_path / 'stop'}; echo status=$?")
    terminal.press("Enter")
    terminal.wait_for("Output")
    end_s = time.monotonic() + TIMEOUT_S
    while "deepseek_prof_throughput_steps_per_second{" not in scraped(port):
        assert time.monotonic() < end_s
        time.sleep(0.2)
    terminal.press("1")
    terminal.wait_for("Throughput and latency")
    terminal.wait_for("throughput_steps")
    (tmp_path / "stop").touch()
    terminal.wait_for("finished")
    terminal.press("q")
    terminal.wait_for("alert: throughput > 0")  # held while the view had the terminal
    terminal.wait_for("status=9")


def scraped(port: int) -> str:
    """What is served now; nothing before the server is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as response:
            text: str = response.read().decode()
            return text
    except OSError:
        return ""
