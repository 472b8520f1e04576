"""One py-spy takes over from another while the program runs, without a gap and without counting anything twice."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.collectors import python_stacks
from deepseek_prof.collectors.python_stacks import PythonStacks
from deepseek_prof.config import RunSettings
from deepseek_prof.narration import Narrator
from deepseek_prof.recording.command import resolve_command
from deepseek_prof.recording.run_directory import create_run_directory
from deepseek_prof.recording.supervisor import run_command
from tests.stacks.conftest import PROGRAMS
from tests.support.recording import open_run

PERIOD_NS = 10_000_000


@pytest.mark.parametrize("delay_s", [0, 1])
def test_several_py_spies_cover_the_time_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay_s: int) -> None:
    # All within the first three seconds, in which marks are dense: later ones are too rare for parts as short as these.
    monkeypatch.setattr(python_stacks, "SEGMENT_S", 0.8)
    monkeypatch.setattr(python_stacks, "OVERLAP_S", 0.1)
    slow = tmp_path / "py-spy"
    slow.write_text(f'#!/bin/sh\nsleep {delay_s}\nexec {python_stacks.find_py_spy()} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setattr(python_stacks, "find_py_spy", lambda: str(slow))
    started = []
    popen = subprocess.Popen

    def counted(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(words)
        return popen(words, **options)

    settings = RunSettings(output=tmp_path / "run", python_stacks=True)
    command = resolve_command([str(PROGRAMS / "timed_calls.py"), "22"])
    run_dir = create_run_directory(settings, command.argv, command.script)
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", counted)
        outcome = run_command(command, run_dir, settings, (), Narrator(quiet=True), (PythonStacks(100),))
    assert outcome.returncode == 0
    assert outcome.warnings == ()
    assert sum("record" in words for words in started) >= 2
    with open_run(run_dir) as run:
        ((count, first_ns, last_ns),) = run.rows("SELECT count(*), min(ts_ns), max(ts_ns) FROM samples")
    covered = count * PERIOD_NS / (last_ns + PERIOD_NS - first_ns)
    assert 0.9 <= covered <= 1.02
    assert count > (110 if not delay_s else 50)  # of the program's 2.2 seconds
