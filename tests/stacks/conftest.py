"""Programs recorded with Python stacks, by the real py-spy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.recording import record

PROGRAMS = Path(__file__).parent / "programs"


def stacks_of(run_dir: Path) -> dict[str, Any]:
    """What ``run.json`` says about the stacks."""
    found: dict[str, Any] = json.loads((run_dir / "run.json").read_text())["stacks"]
    return found


@pytest.fixture(scope="session")
def slow_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of programs/slow_layer.py."""
    return record([str(PROGRAMS / "slow_layer.py")], tmp_path_factory.mktemp("slow"), "--python-stacks")
