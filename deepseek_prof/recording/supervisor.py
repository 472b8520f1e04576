"""Starts the user's command, converts what its processes record while they run, and completes the run after it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from deepseek_prof.config import RunSettings
from deepseek_prof.errors import DeepseekProfError, UsageError
from deepseek_prof.interfaces import CounterCollector, ProcessSampler
from deepseek_prof.narration import Narrator
from deepseek_prof.recording.command import Command
from deepseek_prof.recording.metric_hub import MetricHub
from deepseek_prof.recording.run_directory import LIVE_NAME
from deepseek_prof.recording.signals import relayed_signals, signal_name
from deepseek_prof.trace.run_file import update_run_file

if TYPE_CHECKING:
    from deepseek_prof.recording.converter import Converter

PACKAGE_PARENT = Path(__file__).resolve().parent.parent.parent
SHIM = Path(__file__).resolve().parent / "shim"
MAX_LIVE_SEGMENTS = 1024
"""Segments of 256 KiB that a thread may have waiting for conversion: 256 MiB of disk."""

Spawn: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], "subprocess.Popen[bytes]"]
"""Starts a command with an environment. Raises OSError."""

_POLL_S = 0.2
"""While much is recorded, so that little waits in the program's memory and on the disk."""
_QUIET_POLL_S = 0.5
_SAMPLER_POLL_S = 0.05
"""What a process does before it is found is not sampled."""
_PARENT_NICENESS = 5
"""The program goes first where cores are scarce; as a batch thread we also never wake up in its place."""


@dataclass(frozen=True)
class RunOutcome:
    """How the command ended (``subprocess`` convention) and what of it was recorded."""

    returncode: int
    spans: int
    steps: int
    processes: int
    warnings: tuple[str, ...]
    complete: bool
    """False where something is left in ``live/`` for ``recover``."""


def run_command(
    command: Command,
    run_dir: Path,
    settings: RunSettings,
    collectors: Sequence[CounterCollector],
    narrator: Narrator,
    samplers: Sequence[ProcessSampler] = (),
    hub: MetricHub | None = None,
) -> RunOutcome:
    """Run the command to its end, recorded into ``run_dir``. Trouble with the recording never stops the command.

    All metrics pass through ``hub``.

    Raises:
        UsageError: the program cannot be started.
    """
    with relayed_signals() as relay:
        recording = start_command(command, run_dir, settings, collectors, narrator, samplers=samplers, hub=hub)
        relay.started(recording.pid)
        returncode = recording.wait()
    return recording.complete(returncode)


def start_command(
    command: Command,
    run_dir: Path,
    settings: RunSettings,
    collectors: Sequence[CounterCollector],
    narrator: Narrator,
    spawn: Spawn | None = None,
    samplers: Sequence[ProcessSampler] = (),
    hub: MetricHub | None = None,
) -> Recording:
    """Start the command, on our own terminal or as ``spawn`` does it, and begin to record.

    Raises:
        UsageError: the program cannot be started.
    """
    try:
        child = (spawn or _spawn)(command.argv, child_environment(run_dir, settings))
    except OSError as error:
        raise UsageError(f"cannot start {command.argv[0]}: {error.strerror}.") from error
    recording = Recording(child, run_dir, settings, collectors, narrator, samplers, hub)
    recording.start()
    return recording


def _spawn(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, env=env)


def child_environment(run_dir: Path, settings: RunSettings) -> dict[str, str]:
    """The user's environment and what the shim needs."""
    python_path = os.environ.get("PYTHONPATH")
    asked = {
        "record": settings.record,
        "steps": settings.steps,
        "overhead_budget": settings.overhead_budget,
        "recorder": settings.recorder,
        "cuda": settings.cuda,
        "max_live_segments": MAX_LIVE_SEGMENTS,
        "stacks_rate": settings.stacks_rate_hz if settings.python_stacks else 0,
        "memory_snapshot": settings.memory_snapshot,
        "parent_pid": os.getpid(),
    }
    return {
        **os.environ,
        "PYTHONPATH": f"{SHIM}{os.pathsep}{python_path}" if python_path else str(SHIM),
        "DEEPSEEK_PROF_LIVE": str(run_dir / LIVE_NAME),
        "DEEPSEEK_PROF_PACKAGE": str(PACKAGE_PARENT),
        "DEEPSEEK_PROF_SETTINGS": json.dumps(asked),
    }


def _losses(content: dict[str, Any]) -> list[str]:
    """A line for each entry of ``dropped`` in ``run.json``."""
    from deepseek_prof.recording.run_record import loss  # with pyarrow, which the program's start need not wait for

    entries = [each for each in content.get("dropped") or [] if isinstance(each, dict)]
    return [loss(each.get("pid"), each.get("reason"), int(each.get("spans") or 0)) for each in entries]


class Recording:
    """A started command, and a thread that converts and samples until it has ended."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        run_dir: Path,
        settings: RunSettings,
        collectors: Sequence[CounterCollector],
        narrator: Narrator,
        samplers: Sequence[ProcessSampler] = (),
        hub: MetricHub | None = None,
    ) -> None:
        self._child = child
        self._hub = hub or MetricHub()
        self._run_dir = run_dir
        self._settings = settings
        self._collectors = collectors
        self._samplers = list(samplers)
        self._narrator = narrator
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="deepseek-prof-converter", daemon=True)
        self._converter: Converter | None = None
        self._counters: Any = None
        self._failure: str | None = None

    @property
    def pid(self) -> int:
        """The process that the command became."""
        return self._child.pid

    def start(self) -> None:
        """Begin to convert and to sample."""
        self._thread.start()

    def wait(self) -> int:
        """How the command ended (``subprocess`` convention), once it has."""
        return self._child.wait()

    def complete(self, returncode: int) -> RunOutcome:
        """Convert what is left and write down how the command ended."""
        ended_ns = time.time_ns()
        self._ended.set()
        self._thread.join()
        content = self._finish()
        ending: dict[str, Any] = {"ended_ns": ended_ns, "exit_code": max(returncode, 0) if returncode >= 0 else None}
        complete = not (self._run_dir / LIVE_NAME).is_dir()
        if complete:
            ending["status"] = "finished"
        try:
            self._tell_end(returncode, ended_ns)  # before the status: who follows the events reads until that changes
            content = update_run_file(self._run_dir, signal=signal_name(returncode), **ending)
        except (OSError, DeepseekProfError) as error:
            self._narrator.warn(f"run.json could not be completed: {error}")
        processes = [each for each in content.get("processes") or [] if isinstance(each, dict)]
        return RunOutcome(
            returncode=returncode,
            spans=int((content.get("spans") or {}).get("count") or 0),
            steps=max((int(each.get("steps") or 0) for each in processes), default=0),
            processes=len(processes),
            warnings=(*(str(text) for text in content.get("warnings") or []), *_losses(content)),
            complete=complete,
        )

    def _tell_end(self, returncode: int, ended_ns: int) -> None:
        from deepseek_prof.recording.event_files import RecordingEvents

        how = f"ended by {signal_name(returncode)}" if returncode < 0 else f"exit status {returncode}"
        level = "info" if returncode == 0 else "error"
        RecordingEvents(self._run_dir).emit(level, "run_end", {"message": how}, ts_ns=ended_ns)

    def _finish(self) -> dict[str, Any]:
        from deepseek_prof.trace.run_file import read_run_file

        try:
            if self._counters is not None:
                self._counters.close()
            for sampler in self._samplers:
                sampler.finish(self._run_dir / LIVE_NAME)
            if self._converter is not None:
                self._converter.finish()
            if self._counters is not None:
                self._counters.close()  # what the ends of the processes told
            return read_run_file(self._run_dir)
        except (OSError, DeepseekProfError) as error:
            self._narrator.warn(f"the recording could not be completed: {error}")
        return {}

    def _poll_samplers(self) -> None:
        for sampler in list(self._samplers):
            try:
                sampler.poll(self._run_dir / LIVE_NAME)
            except OSError as error:
                self._narrator.warn(f"{sampler.name} stopped: {error}")
                self._samplers.remove(sampler)

    def _work(self) -> None:
        # Imported here, beside the program's own start: it does not wait for our libraries.
        from deepseek_prof.recording.business_metrics import BusinessMetrics
        from deepseek_prof.recording.converter import Converter
        from deepseek_prof.recording.counters import CounterWriter

        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _PARENT_NICENESS)
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_BATCH, os.sched_param(0))
        try:
            business = BusinessMetrics(self._hub)
            self._converter = Converter(
                self._run_dir,
                max_size_bytes=self._settings.max_size_bytes,
                watch=business.refresh,
                metrics=self._hub.publish_sample,
            )
            self._counters = CounterWriter(self._run_dir, self.pid, self._collectors, self._hub)
            due_s = 0.0
            while not self._ended.wait(_SAMPLER_POLL_S if self._samplers else _POLL_S):
                self._poll_samplers()
                if time.monotonic() >= due_s:
                    spans_before = self._converter.spans_written
                    self._converter.poll()
                    self._counters.poll()
                    is_quiet = self._converter.spans_written == spans_before
                    due_s = time.monotonic() + 0.9 * (_QUIET_POLL_S if is_quiet else _POLL_S)
        except (OSError, DeepseekProfError) as error:
            self._narrator.warn(f"converting stopped: {error}. The program runs on, and what it records stays in live/")
