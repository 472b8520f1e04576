"""Records a candidate's calls with the product's own recorder, in its process. Standard library and torch only."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_RECORDER = "deepseek_prof.collectors.child"
"""By name, as the shim attaches it: collectors stand above the optimizer."""


def record(live: Path, call_all: Callable[[], Any], repeats: int) -> None:
    """Record ``call_all`` that many times into ``live``, the folder of a run directory that the parent converts.

    Raises:
        RecorderError: no recorder works here.
    """
    begin(live)
    try:
        for _ in range(repeats):
            call_all()
    finally:
        end()


def begin(live: Path, steps: tuple[int, int] | None = None) -> None:
    """Record this process from now on, or its steps from the first of ``steps`` to the last. Raises as ``record``."""
    child = import_module(_RECORDER)
    child.begin(live, child.ChildSettings(parent_pid=os.getppid(), steps=steps))


def end() -> None:
    """End what ``begin`` began. Within a hook of ``Optimizer.step`` that must not return: hooks are taken away."""
    import_module(_RECORDER).end()
