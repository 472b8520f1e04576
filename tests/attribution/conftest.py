"""Records real child processes with ``deepseek-prof run`` and reads back which layer their operators carry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.trace.run import Run

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = ROOT / "examples"

OPERATORS = "kind IN ('op', 'autograd', 'collective')"


def environment() -> dict[str, str]:
    """The user's environment, with one thread per operator so that runs beside each other do not wait."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("DEEPSEEK_PROF_")}
    paths = [str(ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run_checked(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the command as it stands; fails the test if it fails."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def record(command: list[str], output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Record the command into the run directory ``output``; fails the test if it fails or we warn."""
    ours = [sys.executable, "-m", "deepseek_prof", "run", "--quiet", "--output", str(output), *options, "--"]
    done = run_checked([*ours, *command])
    assert "deepseek-prof: warning" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done


@dataclass
class Recorded:
    """What was recorded of one process, or of all (``pid`` None)."""

    run: Run
    pid: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query over ``mine``, the spans of this process without steps."""
        where = "kind <> 'step'" if self.pid is None else f"kind <> 'step' AND pid = {self.pid}"
        return self.run.rows(f"WITH mine AS (SELECT * FROM spans WHERE {where}) {sql}")

    def share(self, phase: str = "backward") -> float:
        """The part of the phase's operator time that carries a layer."""
        ((named, total),) = self.rows(
            "SELECT coalesce(sum(self_ns) FILTER (layer IS NOT NULL), 0), coalesce(sum(self_ns), 0) FROM mine "
            f"WHERE {OPERATORS} AND phase = '{phase}'"
        )
        assert total > 0, f"no operator in phase {phase}"
        return float(named / total)

    def layers(self, phase: str | None = None) -> set[str]:
        """The names of the layers that were called (or, in ``backward``, recomputed)."""
        wanted = "" if phase is None else f" AND phase = '{phase}'"
        return {name for (name,) in self.rows(f"SELECT DISTINCT name FROM mine WHERE kind = 'layer'{wanted}")}

    def calls(self, phase: str = "forward") -> dict[str, int]:
        """How often each layer was called."""
        query = f"SELECT name, count(*) FROM mine WHERE kind = 'layer' AND phase = '{phase}' GROUP BY name"
        return dict(self.rows(query))

    def carried(self, name: str, phase: str) -> dict[str | None, int]:
        """The layers of the operators called ``name`` (SQL LIKE), and how many each has."""
        query = (
            f"SELECT layer, count(*) FROM mine WHERE {OPERATORS} AND phase = '{phase}' AND name LIKE '{name}' "
            "GROUP BY layer"
        )
        return dict(self.rows(query))

    def steps(self) -> int:
        """How many steps were recorded."""
        where = "" if self.pid is None else f" AND pid = {self.pid}"
        return int(self.run.rows(f"SELECT count(*) FROM spans WHERE kind = 'step'{where}")[0][0])


class Cases:
    """The cases of one program, recorded in one run."""

    def __init__(self, run: Run, results: dict[str, dict[str, Any]], stderr: str) -> None:
        self._run = run
        self._results = results
        self._stderr = stderr

    def __call__(self, name: str) -> Recorded:
        result = self._results[name]
        assert result["status"] == 0, f"case {name} failed:\n{self._stderr}"
        return Recorded(self._run, result["pid"], result["facts"])


def record_cases(program: str, folder: Path) -> tuple[Run, Cases]:
    """Record every case of ``programs/<program>``."""
    results = folder / "results.json"
    done = record([sys.executable, str(PROGRAMS / program), str(results)], folder / "run")
    run = Run.open(folder / "run")
    return run, Cases(run, json.loads(results.read_text()), done.stderr)


@pytest.fixture(scope="module")
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """The cases of the module's ``PROGRAM``."""
    run, found = record_cases(request.module.PROGRAM, tmp_path_factory.mktemp("cases"))
    with run:
        yield found


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Callable[..., Recorded]]:
    """Records a command line and opens the run."""
    opened: list[Run] = []

    def make(command: list[str], *options: str) -> Recorded:
        output = tmp_path / f"run{len(opened)}"
        record(command, output, *options)
        opened.append(Run.open(output))
        return Recorded(opened[-1])

    yield make
    for run in opened:
        run.close()
