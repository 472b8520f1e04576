"""Runs programs bare and recorded, in real child processes, so that tests can compare the two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseek_prof.trace.run import Run

NARRATION = b"deepseek-prof: "
_KINETO_LOG = b"USDT:"
"""Lines that Kineto writes whenever it starts and stops, with the time."""
TIMEOUT_S = 120
_NOT_INHERITED = ("DEEPSEEK_PROF_", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK")


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would steer a recording, and with one thread an operator."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
    return {**kept, "OMP_NUM_THREADS": "1", **(changes or {})}


def cli_command(*args: str) -> list[str]:
    """The argv of ``deepseek-prof`` with ``args``."""
    return [sys.executable, "-m", "deepseek_prof", *args]


def run_words(
    words: Sequence[str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002  # as subprocess.run calls it
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. ``env`` is added to :func:`environment`; without ``input``, stdin is empty."""
    with subprocess.Popen(
        list(words),
        cwd=cwd,
        env=environment(env),
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            stdout, stderr = process.communicate(input or b"", TIMEOUT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # what it started must not outlive a failed test
            raise
    return subprocess.CompletedProcess(list(words), process.returncode, stdout, stderr)


def run_cli(
    *args: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002  # as subprocess.run calls it
) -> subprocess.CompletedProcess[bytes]:
    """Run ``deepseek-prof`` with ``args``, as :func:`run_words` does."""
    return run_words(cli_command(*args), cwd, env, input)


def write_program(folder: Path, code: str, name: str = "program.py") -> Path:
    """Write an indented block of code as a program, with its folders; returns its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code).lstrip())
    return path


@dataclass(frozen=True)
class Pair:
    """A program's bare run and its recorded run."""

    bare: subprocess.CompletedProcess[bytes]
    recorded: subprocess.CompletedProcess[bytes]
    run_dir: Path

    def assert_same(self) -> None:
        """Exit status, stdout and stderr are equal but for our narration."""
        assert self.recorded.returncode == self.bare.returncode, self.recorded.stderr.decode()
        assert self.recorded.stdout == self.bare.stdout
        assert without_narration(self.recorded.stderr) == without_narration(self.bare.stderr)

    def assert_recorded(self) -> None:
        """The same, nobody warned, and spans were recorded."""
        self.assert_same()
        assert warnings_in(self.recorded.stderr) == []
        with open_run(self.run_dir) as run:
            assert run.rows("SELECT count(*) > 0 FROM spans") == [(True,)]


def run_both(
    words: Sequence[str],
    folder: Path,
    *,
    options: Sequence[str] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002  # as subprocess.run calls it
) -> Pair:
    """Run ``python WORDS`` bare, and ``deepseek-prof run WORDS`` into ``folder/run``."""
    bare = run_words([sys.executable, *words], cwd or folder, env, input)
    run_dir = folder / "run"
    recorded = run_cli("run", "--output", str(run_dir), *options, *words, cwd=cwd or folder, env=env, input=input)
    return Pair(bare, recorded, run_dir)


def run_both_commands(words: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None) -> Pair:
    """Run the command ``WORDS`` bare, and ``deepseek-prof run -- WORDS`` into ``folder/run``."""
    bare = run_words(words, folder, env)
    run_dir = folder / "run"
    return Pair(bare, run_cli("run", "--output", str(run_dir), "--", *words, cwd=folder, env=env), run_dir)


def record(words: Sequence[str], folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Path:
    """Record ``python WORDS`` into ``folder/run``; fails the test unless it ends well without a warning."""
    run_dir = folder / "run"
    done = run_cli("run", "--output", str(run_dir), *options, *words, cwd=folder, env=env)
    assert done.returncode == 0, done.stderr.decode()
    assert warnings_in(done.stderr) == []
    return run_dir


def open_run(run_dir: Path) -> Run:
    """Open a run for reading; use it as a context manager."""
    return Run.open(run_dir)


def without_narration(stderr: bytes) -> bytes:
    """What the program itself wrote."""
    return b"".join(line for line in stderr.splitlines(keepends=True) if not line.startswith((NARRATION, _KINETO_LOG)))


def warnings_in(stderr: bytes) -> list[str]:
    """The warnings that we wrote."""
    prefix = NARRATION + b"warning: "
    return [line.removeprefix(prefix).decode() for line in stderr.splitlines() if line.startswith(prefix)]


def operator_counts(run: Run, where: str = "TRUE", *params: Any) -> Counter[str]:
    """How often each operator ran; ``where`` is SQL of the test's own."""
    found = run.rows(f"SELECT name, count(*) FROM spans WHERE kind = 'op' AND {where} GROUP BY name", params)
    return Counter(dict(found))


def processes_with_spans(run: Run) -> set[int]:
    """The pids of which the run holds spans."""
    return {pid for (pid,) in run.rows("SELECT DISTINCT pid FROM spans")}
