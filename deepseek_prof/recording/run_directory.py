"""Makes the run directory before the program starts, so that a folder that cannot be written is told at once."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deepseek_prof.config import RunSettings
from deepseek_prof.errors import OutputError
from deepseek_prof.model import SCHEMA_VERSION
from deepseek_prof.trace.catalog import default_root
from deepseek_prof.trace.run_file import write_run_file

LIVE_NAME = "live"
SMALLEST_FREE_BYTES = 64 << 20
"""Below this much free space a recording would lose spans within seconds: told before the program starts."""


def create_run_directory(
    settings: RunSettings, command: Sequence[str], script: str = "notebook", python: str | None = None
) -> Path:
    """Make ``settings.output``, or ``./.deepseek-prof/<yyyymmdd-hhmmss>-<script>``, with ``run.json`` and ``live/``.

    Raises:
        OutputError: it exists and is not empty, cannot be written, or its disk is full.
    """
    try:
        path = _make(settings.output) if settings.output is not None else _make_default(script)
        (path / LIVE_NAME).mkdir(mode=0o700)
        write_run_file(path, _first_content(path, settings, command, script, python))
    except FileExistsError as error:
        raise OutputError(f"{error.filename} exists already. Choose another --output, or remove it.") from error
    except OSError as error:
        raise OutputError(
            f"cannot make the run directory {error.filename or settings.output}: {error.strerror}. "
            "Choose a writable folder with --output DIR."
        ) from error
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < SMALLEST_FREE_BYTES:
        shutil.rmtree(path)
        raise OutputError(
            f"only {free_bytes >> 20} MiB are free on the disk of {path.parent}. "
            "Free some space, or choose another disk with --output DIR."
        )
    return path.resolve()


def _make(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not path.is_dir() or any(path.iterdir()):
            raise
        path.chmod(0o700)  # an empty folder, as mktemp makes it, is as good as none
    return path


def default_run_directory(script: str) -> Path:
    """Makes an empty ``./.deepseek-prof/<yyyymmdd-hhmmss>-<script>``. Raises OutputError."""
    try:
        return _make_default(script)
    except OSError as error:
        raise OutputError(
            f"cannot make the run directory {error.filename}: {error.strerror}. "
            "Choose a writable folder with --output DIR."
        ) from error


def _make_default(script: str) -> Path:
    root = default_root()
    if not root.exists():
        root.mkdir(mode=0o700, exist_ok=True)
        (root / ".gitignore").write_text("*\n")  # recordings do not belong into the user's repository
    base = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub(r'[^A-Za-z0-9._-]+', '_', script)[:60]}"
    for attempt in range(1, 1000):
        path = root / (base if attempt == 1 else f"{base}-{attempt}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise OutputError(f"{root} holds a thousand runs of this second. Name one with --output DIR.")


def _without_secrets(address: str) -> str:
    """An address without the password or token that it may hold: runs are handed on."""
    return re.sub(r"//[^/?#]*@", "//", re.split(r"[?#]", address, maxsplit=1)[0])


def _first_content(
    path: Path, settings: RunSettings, command: Sequence[str], script: str, python: str | None
) -> dict[str, Any]:
    described = {key: value for key, value in asdict(settings).items() if key not in ("output", "name", "quiet")}
    if settings.otlp is not None:
        described["otlp"] = _without_secrets(settings.otlp)
    # Both clocks are read next to each other: their difference dates every span.
    clock = {"monotonic_ns": time.monotonic_ns(), "epoch_ns": time.time_ns()}
    return {
        "schema_version": SCHEMA_VERSION,
        "id": path.name,
        "name": settings.name or path.name,
        "script": script,
        "command": list(command),
        "cwd": str(Path.cwd()),
        "python": python or sys.executable,
        "created_ns": clock["epoch_ns"],
        "ended_ns": None,
        "status": "running",
        "exit_code": None,
        "signal": None,
        "host": {
            "hostname": platform.node(),
            "cpu_count": os.cpu_count(),
            "usable_cpu_count": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "platform": platform.platform(),
        },
        "clock": clock,
        "settings": described,
        "packages": {"deepseek_prof": own_version(), "python": platform.python_version()},
        "processes": [],
        "spans": {"count": 0, "size_bytes": 0},
        "dropped": [],
        "warnings": [],
    }


def own_version() -> str:
    """The installed version of deepseek-prof; ``unknown`` where it runs uninstalled."""
    try:
        return version("deepseek-prof")
    except PackageNotFoundError:
        return "unknown"
