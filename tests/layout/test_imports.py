"""What a fresh process loads: help stays quick, and reading a run never waits for torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.synthetic import write_synthetic_run

PACKAGE = Path(__file__).resolve().parents[2] / "deepseek_prof"
# Folders whose modules may not import torch, not even inside a function that a reader of runs calls.
WITHOUT_TORCH = ("trace", "query", "analysis", "recording", "importing", "exporters", "cli")
HEAVY = {"torch", "textual", "duckdb", "pyarrow", "numpy"}


def loaded_by(program: str, *arguments: str, cwd: Path) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``program`` (which may exit)."""
    report = cwd / "loaded.json"
    wrapped = (
        "import atexit, json, pathlib, sys\n"
        f"atexit.register(lambda: pathlib.Path({str(report)!r}).write_text(json.dumps(sorted(sys.modules))))\n"
        f"{program}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-c", wrapped, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return {name.split(".")[0] for name in json.loads(report.read_text())}


def modules_of(folder: str) -> list[str]:
    """Dotted names of all modules in a folder of the package; a folder without ``__init__`` is no package."""
    return [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if (path.parent / "__init__.py").exists()
    ]


@pytest.mark.parametrize(
    "command", [[], ["run"], ["report"], ["top"], ["tui"], ["runs"], ["recover"], ["import"], ["doctor"]]
)
def test_help_loads_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    loaded = loaded_by("from deepseek_prof.cli.app import main; main()", *command, "--help", cwd=tmp_path)
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("folder", WITHOUT_TORCH)
def test_modules_below_the_collectors_do_not_load_torch(folder: str, tmp_path: Path) -> None:
    names = modules_of(folder)
    assert names
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    loaded = loaded_by(program, *names, cwd=tmp_path)
    assert "deepseek_prof" in loaded
    assert not loaded & {"torch", "textual"}


def test_the_package_itself_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded_by("import deepseek_prof", cwd=tmp_path) & (HEAVY | {"typer", "rich"})


def test_reading_a_run_does_not_load_torch(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=20).path
    program = (
        "import sys, deepseek_prof\n"
        "run = deepseek_prof.load(sys.argv[1])\n"
        "run.top(by='op'); run.spans(); run.findings()\n"
        "from deepseek_prof.cli.app import main\n"
        "sys.argv = ['deepseek-prof', 'report', sys.argv[1]]\n"
        "main()"
    )
    loaded = loaded_by(program, str(run), cwd=tmp_path)
    assert "duckdb" in loaded
    assert not loaded & {"torch", "textual"}
