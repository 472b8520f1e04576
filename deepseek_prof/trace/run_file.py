"""``run.json``: what a run is, how it ended and what it lacks."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from deepseek_prof.errors import RunDamagedError, RunNotFoundError
from deepseek_prof.model import SCHEMA_VERSION

RUN_FILE_NAME = "run.json"

# The supervisor and its converter both change the file, from threads of one process.
_update_lock = threading.Lock()


def read_run_file(run_dir: Path) -> dict[str, Any]:
    """The content of ``run.json``.

    Raises RunNotFoundError if there is none, RunDamagedError if it cannot be read or is of a newer schema.
    """
    path = run_dir / RUN_FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunNotFoundError(f"{run_dir} is not a run: it has no {RUN_FILE_NAME}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RunDamagedError(f"{path} cannot be read: {error}.") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunDamagedError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise RunDamagedError(f"{path} does not hold a JSON object.")
    version = data.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise RunDamagedError(f"{path} has an unknown schema version: {version!r}.")
    if version > SCHEMA_VERSION:
        raise RunDamagedError(
            f"{path} is of schema version {version}; this deepseek-prof reads up to {SCHEMA_VERSION}. "
            "Upgrade deepseek-prof to open the run."
        )
    return data


def write_run_file(run_dir: Path, data: dict[str, Any]) -> None:
    """Replaces ``run.json`` as a whole: a reader sees the old or the new one, never half. Raises OSError."""
    path = run_dir / RUN_FILE_NAME
    # Named by thread too: without that, two writers would fill one temporary file.
    temporary = run_dir / f".{RUN_FILE_NAME}.{os.getpid()}.{threading.get_ident()}"
    try:
        temporary.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", errors="replace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def update_run_file(run_dir: Path, **changes: Any) -> dict[str, Any]:
    """Sets top-level keys of ``run.json`` and returns the new content."""
    with _update_lock:
        data = read_run_file(run_dir)
        data.update(changes)
        write_run_file(run_dir, data)
    return data
