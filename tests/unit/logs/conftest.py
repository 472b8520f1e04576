"""A finished run with events beside its spans."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthetic import EPOCH_NS, FIRST_PID, write_synthetic_run

WriteEvents = Callable[..., Path]
HOSTILE = (
    "quote'\";DROP TABLE spans;--",
    "[red]markup[/red]",
    "line\nbreak\ttab",
    "\x1b[31mred\x1b[0m\x9b31m",
    "emoji 🦜 \u202eright to left",
    "=1+1",
    "x" * 10_000,
)


def line(offset_ns: int, event: str, **changes: Any) -> str:
    """An event as it stands in a file."""
    record = {"ts_ns": EPOCH_NS + offset_ns, "level": "info", "event": event, "step": None, "phase": None}
    return json.dumps({**record, "layer": None, "op": None, "fields": {}, **changes}, ensure_ascii=False)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of three steps without events."""
    return write_synthetic_run(tmp_path / "run", steps=3, layers=1).path


@pytest.fixture
def write_events(run_dir: Path) -> WriteEvents:
    """Writes lines as the converted events of a process of the run."""

    def write(*lines: str, rank: int = 0, pid: int = FIRST_PID, name: str = "part-00000.jsonl") -> Path:
        path = run_dir / "logs" / f"rank={rank}" / f"pid={pid}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
        return path

    return write
