"""``run --live``: what it costs the program, and how old what it shows is."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurements.overhead import BARE, OPS, StepCount
from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import RESULT_VARIABLE, ROOT, Session, deepseek_prof

_STEPS, _QUICK_STEPS = StepCount(warm_up=200, timed=900), StepCount(warm_up=2, timed=5)
_ROWS, _COLUMNS = 50, 160
_LIMIT_S = 120.0
_ANOTHER_KEY_S = 3.0


@dataclass(frozen=True)
class Live:
    """One process bare, one recorded, one recorded under the TUI, in shuffled order."""

    name: str = "live"
    title: str = "`run --live` in a terminal of 160 × 50: steps of the tiny transformer, batch 4"
    max_rounds: int | None = None
    in_default_set: bool = False

    def measure_round(self, session: Session, index: int) -> Sample:
        """Step times of the three. Raises BenchmarkError."""
        session.build_recorder()
        options = (_QUICK_STEPS if session.quick else _STEPS).options
        names = [BARE.name, OPS.name, "live"]
        random.Random(index).shuffle(names)
        sample: dict[str, float] = {}
        for name in names:
            if name == "live":
                sample[name] = _live_step_s(session, options)
            else:
                arm = BARE if name == BARE.name else OPS
                sample[name] = float(session.run_program("tiny_transformer", options, arm).figures["step_s"])
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the ratios: live to recorded, and both to bare."""
        return present(
            row(samples, lambda sample: sample["live"] / sample["ops"], "run --live / run", "x"),
            row(samples, lambda sample: sample["ops"] / sample["bare"], "run / bare", "x"),
            row(samples, lambda sample: sample["live"] / sample["bare"], "run --live / bare", "x"),
        )


@dataclass(frozen=True)
class LiveAge:
    """The TUI follows a recording of the densest program; a session in a new process each round."""

    name: str = "live-age"
    title: str = "A run in progress in the TUI: age of what the operators' pane shows, at any moment"
    max_rounds: int | None = 5
    in_default_set: bool = False

    def measure_round(self, session: Session, index: int) -> Sample:
        """Ages over some seconds. Raises BenchmarkError."""
        session.build_recorder()
        result = session.work_dir / "age.json"
        steps, seconds = (2_000, 2) if session.quick else (20_000, 12)
        command = [sys.executable, "-m", "benchmarks.programs.tui_age", str(steps), str(seconds)]
        session.run_command(command, {RESULT_VARIABLE: str(result)})
        found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
        return found

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the ages of each session."""
        return present(
            row(samples, lambda sample: sample["median_s"], "age, median", "s", bar=1.0),
            row(samples, lambda sample: sample["p95_s"], "age, 95th percentile", "s", bar=1.0),
            row(samples, lambda sample: sample["largest_s"], "age, largest", "s"),
        )


def _live_step_s(session: Session, options: Sequence[str]) -> float:
    """A step of the program under the TUI, which is left when the program has ended. Raises BenchmarkError."""
    result, run_dir = session.work_dir / "live.json", session.work_dir / "live-run"
    command = [
        *deepseek_prof(), "run", "--live", "--output", str(run_dir), "--",
        sys.executable, "-m", "benchmarks.programs.tiny_transformer", *options,
    ]  # fmt: skip
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", RESULT_VARIABLE: str(result)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    reader = threading.Thread(target=_drain, args=(master,), daemon=True)
    reader.start()
    try:
        _leave_at_the_end(process, master, result)
        return float(json.loads(result.read_text(encoding="utf-8"))["step_s"])
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(master)
        result.unlink(missing_ok=True)
        shutil.rmtree(run_dir, ignore_errors=True)


def _leave_at_the_end(process: subprocess.Popen[bytes], master: int, result: Path) -> None:
    deadline_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline_s:
        if result.exists():
            os.write(master, b"q")
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ANOTHER_KEY_S if result.exists() else 0.5)
            if not result.exists():
                raise BenchmarkError(f"run --live ended with status {process.returncode} and without figures")
            return
    raise BenchmarkError(f"run --live did not end within {_LIMIT_S:.0f} s")


def _drain(master: int) -> None:
    """Read as a terminal does, so that nobody waits for it."""
    with suppress(OSError):  # the other side is closed
        while os.read(master, 1 << 16):
            pass
