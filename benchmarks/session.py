"""Starts the processes that benchmarks time: a program bare, or under ``deepseek-prof run``, or a command of ours."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import BenchmarkError

ROOT = Path(__file__).resolve().parent.parent
RESULT_VARIABLE = "BENCHMARK_RESULT"
PROCESS_LIMIT_S = 600.0
INTERRUPT_GRACE_S = 5.0
TAIL_CHARACTERS = 2_000


@dataclass(frozen=True)
class Arm:
    """One way to run a program: ``run_options`` are those of ``deepseek-prof run``, None runs it without us."""

    name: str
    run_options: tuple[str, ...] | None = None
    program_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """A process that ended well: its wall time, the moment of its end (CLOCK_MONOTONIC) and where its output went."""

    wall_s: float
    end_monotonic_ns: int


@dataclass(frozen=True)
class ProgramRun:
    """A finished program: the figures it wrote itself and, where we recorded it, the run directory's own account."""

    figures: Mapping[str, Any]
    process: Finished
    run_dir: Path | None
    info: Mapping[str, Any]

    @property
    def after_exit_s(self) -> float:
        """Seconds between the program's last statement and the end of the process that we started."""
        return float(self.process.end_monotonic_ns - self.figures["end_monotonic_ns"]) / 1e9

    @property
    def spans(self) -> int:
        """Spans that the run directory holds; 0 for a bare program."""
        return int(self.info.get("spans", {}).get("count", 0))


class Session:
    """One invocation: its scratch directory, the smoke-run switch, and the arms that were asked for."""

    def __init__(self, work_dir: Path, *, quick: bool, arms: Sequence[str] = ()) -> None:
        self.work_dir = work_dir
        self.quick = quick
        self._arms = tuple(arms)
        self._started = 0
        self._recorder_ready = False
        self.long_run_dir: Path | None = None
        self.found: dict[str, int] = {}
        """What a measurement finds out before its first round, by the measurement's name."""

    def wants(self, arm: Arm) -> bool:
        """Return whether ``--arm`` lets this arm run (bare arms always do, ratios need them)."""
        return not self._arms or arm.name == "bare" or arm.name in self._arms

    def run_program(self, program: str, options: Sequence[str], arm: Arm, *, keep: bool = False) -> ProgramRun:
        """Run a module of ``benchmarks.programs`` in a fresh process; the run directory stays only with ``keep``.

        Raises BenchmarkError when a process fails, or when a recorded arm recorded nothing or lost spans.
        """
        if arm.run_options is not None:
            self.build_recorder()
        return self._run(program, options, arm, keep=keep)

    def build_recorder(self) -> None:
        """Let the native recorder be built, so that no timed run pays for the compiler."""
        if not self._recorder_ready:
            self._run("tiny_transformer", ("--warm-up", "1", "--steps", "1"), Arm("build", ()), keep=False)
            self._recorder_ready = True

    def run_command(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
        """Run a command to its end with output to a scratch file. Raises BenchmarkError for any failure."""
        self._started += 1
        output = self.work_dir / f"output-{self._started}.txt"
        with output.open("wb") as stream:
            start_ns = time.monotonic_ns()
            process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            watchdog = threading.Timer(PROCESS_LIMIT_S, process.kill)
            watchdog.start()
            try:
                # Without a timeout of its own, wait() returns at once; with one, it polls every 50 ms.
                status = process.wait()
                end_ns = time.monotonic_ns()
            except KeyboardInterrupt:
                _end(process)
                raise
            finally:
                watchdog.cancel()
        if status != 0:
            tail = output.read_text(encoding="utf-8", errors="replace")[-TAIL_CHARACTERS:]
            raise BenchmarkError(f"{' '.join(command)} ended with status {status}:\n{tail.strip()}")
        output.unlink()
        return Finished((end_ns - start_ns) / 1e9, end_ns)

    def _run(self, program: str, options: Sequence[str], arm: Arm, *, keep: bool) -> ProgramRun:
        result_file = self.work_dir / f"result-{self._started}.json"
        run_dir = self.work_dir / f"run-{self._started}"
        command = [sys.executable, "-m", f"benchmarks.programs.{program}", *options, *arm.program_options]
        if arm.run_options is not None:
            command = [*deepseek_prof(), "run", "--quiet", "--output", str(run_dir), *arm.run_options, "--", *command]
        process = self.run_command(command, {RESULT_VARIABLE: str(result_file)})
        if not result_file.exists():
            raise BenchmarkError(f"{' '.join(command)} wrote no figures")
        figures = json.loads(result_file.read_text(encoding="utf-8"))
        result_file.unlink()
        if arm.run_options is None:
            return ProgramRun(figures, process, None, {})
        info = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
        run = ProgramRun(figures, process, run_dir, info)
        # A budget drops spans on purpose; anywhere else a faster run that lost spans would be no result.
        lost = info.get("dropped") if "--overhead-budget" not in arm.run_options else None
        if run.spans == 0 or lost:
            raise BenchmarkError(f"arm {arm.name}: {run.spans} spans recorded, dropped: {lost}")
        if not keep:
            shutil.rmtree(run_dir)
        return run


def deepseek_prof() -> tuple[str, ...]:
    """Return the command that starts us: the installed script, which is what a user types, or the module."""
    script = Path(sys.executable).with_name("deepseek-prof")
    return (str(script),) if script.exists() else (sys.executable, "-m", "deepseek_prof")


def directory_size_bytes(directory: Path) -> int:
    """Return the apparent size of all files below ``directory``."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process after Ctrl-C.

    A terminal has sent it the signal too, so wait first; then ask, because killing ``deepseek-prof run`` at once would
    leave the program behind.
    """
    for ask in (signal.SIGINT, signal.SIGKILL):
        try:
            process.wait(INTERRUPT_GRACE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(ask)
    process.wait()
