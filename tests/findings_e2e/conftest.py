"""Real programs, recorded by the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from deepseek_prof.analysis.findings import Finding, find
from deepseek_prof.analysis.summary import summarize
from deepseek_prof.trace.run import Run

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"

FindingsOf = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def findings_of(tmp_path_factory: pytest.TempPathFactory) -> FindingsOf:
    """A function that runs a program of ``programs/`` under ``deepseek-prof run`` and returns its findings by rule.

    The same program with the same arguments is run once.
    """

    @cache
    def make(program: str, *arguments: str, options: tuple[str, ...] = ()) -> dict[str, Finding]:
        folder = tmp_path_factory.mktemp(program)
        run_dir = folder / "run"
        command = [sys.executable, "-m", "deepseek_prof", "run", "--quiet", *options, "--output", str(run_dir)]
        # An installed package needs no help; a bare checkout does.
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
        done = subprocess.run(
            [*command, str(PROGRAMS / f"{program}.py"), *arguments],
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        with Run.open(run_dir) as run:
            return {each.rule: each for each in find(run, summarize(run))}

    return make
