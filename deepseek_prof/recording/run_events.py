"""The events that conversion tells of a run and of its processes: beginnings, ends, and steps."""

from __future__ import annotations

from typing import Any

from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.recording.live_process import LiveProcess
from deepseek_prof.recording.step_events import StepEvents

_TOLD = ("run_start", "process_start", "process_end", "step_summary", "slow_step")
_DESCRIBED = ("argv", "recorder", "torch")


class RunEvents:
    """Tells each event once, also where an earlier conversion of the run was cut short."""

    def __init__(self, events: RecordingEvents, content: dict[str, Any]) -> None:
        """``content`` is ``run.json``; writes the run's first event, unless it is there."""
        self._events = events
        self._steps: dict[str, StepEvents] = {}
        self._told_ns = events.last_ns(*_TOLD)
        if self._told_ns == 0:
            created_ns = content.get("created_ns")
            self._told_ns = created_ns if isinstance(created_ns, int) else 0
            about = {key: content.get(key) for key in ("command", "cwd")}
            events.emit("info", "run_start", about, ts_ns=self._told_ns)

    def refresh(self, process: LiveProcess, rank: int, offset_ns: int, *, alive: bool) -> None:
        """Tell what is new of a process; ``offset_ns`` leads from its clock to the Unix epoch."""
        name = process.directory.name
        if name not in self._steps:
            self._steps[name] = StepEvents(self._events, offset_ns, self._told_ns)
            self._tell_start(process, rank, offset_ns)
        self._steps[name].refresh(process.steps.boundaries, rank, ended=not alive)
        if not alive:
            self._tell_end(process, rank, offset_ns)

    def _tell_start(self, process: LiveProcess, rank: int, offset_ns: int) -> None:
        description = process.description()
        start_ns = description.get("start_ns")
        if isinstance(start_ns, int) and start_ns + offset_ns > self._told_ns:
            about: dict[str, Any] = {"pid": process.pid}
            about.update((key, description[key]) for key in _DESCRIBED if key in description)
            self._events.emit("info", "process_start", about, ts_ns=start_ns + offset_ns, rank=rank)

    def _tell_end(self, process: LiveProcess, rank: int, offset_ns: int) -> None:
        about: dict[str, Any] = {"pid": process.pid}
        ended_ns = process.description().get("ended_ns")
        if isinstance(ended_ns, int):
            self._events.emit("info", "process_end", about, ts_ns=ended_ns + offset_ns, rank=rank)
        else:
            about["message"] = "the process was killed, or left without its exit handlers"
            self._events.emit("warning", "process_end", about, rank=rank)
