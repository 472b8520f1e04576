"""Completes a run whose recording process died: converts what its processes left under ``live/``."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

from deepseek_prof.errors import OutputError
from deepseek_prof.recording.converter import LOCK_NAME, Converter
from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.trace.run_file import read_run_file, update_run_file

_DEFAULT_MAX_SIZE_BYTES = 2 << 30


def needs_recovery(run_dir: Path) -> bool:
    """Whether the run is not converted to its end and nobody is at it; see also :func:`is_recording`."""
    return (run_dir / "live").is_dir() and not is_recording(run_dir)


def is_recording(run_dir: Path) -> bool:
    """Whether a process records or converts this run at this moment."""
    try:
        with (run_dir / "live" / LOCK_NAME).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def recover(run_dir: Path) -> None:
    """Converts what is left of the run and gives it the status ``recovered``; nothing to do is no error.

    Raises OutputError if the run cannot be written or somebody else converts it, RunDamagedError for a damaged
    ``run.json`` or Parquet file.
    """
    data = read_run_file(run_dir)
    live = run_dir / "live"
    if not live.is_dir():
        return
    settings = data.get("settings")
    limit: Any = settings.get("max_size_bytes") if isinstance(settings, dict) else None
    max_size_bytes = limit if isinstance(limit, int) and limit > 0 else _DEFAULT_MAX_SIZE_BYTES
    last_change_ns = max((path.stat().st_mtime_ns for path in live.glob("*/*")), default=0)
    converter = Converter(run_dir, max_size_bytes=max_size_bytes)
    converter.finish()
    if live.is_dir():
        raise OutputError(f"{run_dir} is not wholly recovered: {'; '.join(converter.warnings)}.")
    changes: dict[str, Any] = {"status": "recovered"}
    if not data.get("ended_ns"):
        changes["ended_ns"] = last_change_ns or data.get("created_ns")
    message = "the recording was cut off; what it left was converted later"
    RecordingEvents(run_dir).emit("warning", "run_end", {"message": message}, ts_ns=changes.get("ended_ns"))
    update_run_file(run_dir, **changes)
