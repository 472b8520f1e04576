"""Events of recorded programs, as ``logs`` tells them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.recording import run_cli


def events(run_dir: Path, query: str) -> list[dict[str, Any]]:
    """What ``logs`` selects, as JSON."""
    done = run_cli("logs", str(run_dir), "--query", query, "--format", "json", "--limit", "0")
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def place(row: dict[str, Any]) -> tuple[Any, ...]:
    """Step, phase and layer of an event."""
    return row.get("step"), row.get("phase"), row.get("layer")
