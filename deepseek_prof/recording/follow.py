"""Converts a run beside the process that records itself (``deepseek_prof.profile``): ``python -m … RUN PID``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil

from deepseek_prof.recording.converter import Converter
from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.trace.run_file import read_run_file, update_run_file

DONE_NAME = "done"
"""File in ``live/`` by which the recording process says that it has stopped."""
_POLL_S = 0.25


def follow(run_dir: Path, pid: int) -> None:
    """Convert what ``pid`` records until it says that it is done, or dies; then complete the run."""
    max_size_bytes = int(read_run_file(run_dir).get("settings", {}).get("max_size_bytes") or 2 << 30)
    converter = Converter(run_dir, max_size_bytes=max_size_bytes)
    done = run_dir / "live" / DONE_NAME
    while not done.exists() and psutil.pid_exists(pid):
        converter.poll()
        time.sleep(_POLL_S)
    done.unlink(missing_ok=True)
    converter.finish()
    ended_ns = time.time_ns()
    RecordingEvents(run_dir).emit("info", "run_end", {}, ts_ns=ended_ns)
    update_run_file(run_dir, status="finished", ended_ns=ended_ns)


if __name__ == "__main__":
    # Ctrl-C in the notebook ends the block, which then tells us.
    os.setsid()
    follow(Path(sys.argv[1]), int(sys.argv[2]))
