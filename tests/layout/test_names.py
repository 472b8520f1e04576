"""Our mapped folders leave the top-level names ``collectors``, ``exporters`` and ``tui`` to the programs we profile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import MAPPED_FOLDERS

PROGRAM = """
import json, pathlib, sys
import torch
torch.nn.Linear(4, 4)(torch.ones(2, 4)).sum().backward()
names = {name: getattr(sys.modules.get(name), "__file__", None) for name in %r}
pathlib.Path("seen.json").write_text(json.dumps({"names": names, "ours": "deepseek_prof" in sys.modules}))
"""


@pytest.mark.parametrize("name", MAPPED_FOLDERS)
def test_mapped_folders_cannot_be_imported_bare_under_pytest(name: str) -> None:
    assert name not in sys.modules
    assert find_spec(name) is None


def record(folder: Path, program: str) -> dict[str, object]:
    """What ``program`` saw, recorded from ``folder`` by the installed command."""
    (folder / "program.py").write_text(program)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-m", "deepseek_prof", "run", "--output", "run", "program.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen: dict[str, object] = json.loads((folder / "seen.json").read_text())
    return seen


def test_profiled_program_has_no_bare_name_of_ours(tmp_path: Path) -> None:
    seen = record(tmp_path, PROGRAM % (MAPPED_FOLDERS,))
    assert seen["ours"]
    assert seen["names"] == dict.fromkeys(MAPPED_FOLDERS)


def test_profiled_program_keeps_its_own_packages_of_these_names(tmp_path: Path) -> None:
    for name in MAPPED_FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    imports = f"import {', '.join(MAPPED_FOLDERS)}\n"
    seen = record(tmp_path, imports + PROGRAM % (MAPPED_FOLDERS,))
    assert seen["ours"]
    assert seen["names"] == {name: str(tmp_path / name / "__init__.py") for name in MAPPED_FOLDERS}
