"""The recorder's half inside the profiled process: chooses the recorder, attaches it, describes the process.

Standard library and torch only: it runs in the user's environment.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deepseek_prof.errors import RecorderError
from deepseek_prof.model import Phase

if TYPE_CHECKING:
    from deepseek_prof.collectors.cuda import CudaSource
    from deepseek_prof.collectors.event_sources import EventSources


@dataclass(frozen=True)
class ChildSettings:
    """What the parent asked of this process, from ``DEEPSEEK_PROF_SETTINGS``."""

    record: str = "ops"
    steps: tuple[int, int] | None = None
    overhead_budget: float | None = None
    recorder: str = "auto"
    max_live_segments: int = 1024
    stacks_rate: int = 0
    """Samples of Python stacks a second; 0 for none."""
    cuda: str = "auto"
    """What to record of CUDA devices: auto, kernels, events or off."""
    memory_snapshot: bool = False
    """Whether to keep the history of PyTorch's CUDA allocator and dump it at the end."""
    parent_pid: int = 0

    @classmethod
    def from_json(cls, text: str) -> ChildSettings:
        """Parse the JSON object; keys that this version does not know are ignored."""
        raw = json.loads(text or "{}")
        known = {key: value for key, value in raw.items() if key in cls.__dataclass_fields__}
        if known.get("steps"):
            known["steps"] = (int(known["steps"][0]), int(known["steps"][1]))
        return cls(**known)


class ChildRecorder(Protocol):
    """A source of operator records inside the profiled process."""

    name: str

    def start(self, live: Path, description: dict[str, Any], settings: ChildSettings) -> None:
        """Begin to record into ``live``; raises RecorderError if this recorder cannot work here."""

    def position(self) -> tuple[int, int, str]:
        """Where the calling thread is: the running step or -1, a Phase's code, the innermost layer or ''."""

    def stop(self) -> dict[str, Any]:
        """End the recording; returns what process.json gains: events, overhead, dropped_spans."""


class Attachment:
    """The recording of this process, from attach to exit."""

    def __init__(self, live_root: Path, settings: ChildSettings) -> None:
        self.live_root = live_root
        self.settings = settings
        self.description = describe_process(settings)
        self.directory = self._directory()
        self.recorder: ChildRecorder | None = None
        self.events: EventSources | None = None
        self.cuda: CudaSource | None = None
        self._pid = os.getpid()

    def _directory(self) -> Path:
        return self.live_root / f"{os.getpid()}-{time.monotonic_ns():x}"

    def start(self) -> None:
        """Start the first recorder that works here, in the order of the settings."""
        from deepseek_prof.collectors.kineto import KinetoRecorder
        from deepseek_prof.collectors.native.build import require_supported
        from deepseek_prof.collectors.operators import NativeRecorder

        require_supported(str(self.description["torch"]))
        wanted: list[type[ChildRecorder]] = []
        if self.settings.recorder in ("auto", "native"):
            wanted.append(NativeRecorder)
        if self.settings.recorder in ("auto", "kineto"):
            wanted.append(KinetoRecorder)
        reasons: list[str] = []
        for kind in wanted:
            candidate = kind()
            self.description.update(recorder=kind.name, recorder_reason="; ".join(reasons))
            try:
                candidate.start(self.directory, self.description, self.settings)
            except (RecorderError, ImportError, OSError) as error:
                reasons.append(f"{kind.name}: {error}")
                continue
            self.recorder = candidate
            break
        if self.recorder is None:
            raise RecorderError("; ".join(reasons))
        if reasons:
            self.warn("; ".join(reasons) + f"; recording with {self.recorder.name} instead")
        self._start_events()
        if self.settings.cuda != "off":
            self._start_cuda()
        if self.settings.stacks_rate:
            self._start_stacks()
        if self.settings.memory_snapshot:
            self._start_memory_history()
        atexit.register(self.stop)

    def _start_events(self) -> None:
        """Note events too; what does not work there costs the events, not the recording."""
        try:
            from deepseek_prof.collectors.event_sources import EventSources

            self.events = EventSources(self)
            self.events.install()
        except Exception as error:  # noqa: BLE001  # private parts of torch and of libraries may be other ones here
            self.warn(f"events are recorded in part: {type(error).__name__}: {error}")

    def _start_cuda(self) -> None:
        """Record CUDA work too; what does not work there costs no more than that."""
        from deepseek_prof.collectors.operators import NativeRecorder

        asked = self.settings.cuda != "auto"
        if not isinstance(self.recorder, NativeRecorder):
            if asked:
                self.warn(f"--cuda {self.settings.cuda} needs the native recorder: no CUDA work is recorded")
            return
        if not asked and not self.description["cuda"]:
            return  # without importing anything
        try:
            from deepseek_prof.collectors.cuda import watch_cuda

            self.cuda = watch_cuda(self, self.recorder)
        except Exception as error:  # noqa: BLE001  # private parts of torch may be other ones here
            self.warn(f"no CUDA work is recorded: {error}")

    def _start_stacks(self) -> None:
        from deepseek_prof.collectors.stack_sampler import start_stacks

        try:
            start_stacks(self, self.settings.stacks_rate)
        except (OSError, RuntimeError, AttributeError) as error:  # no thread to be had, or another C library
            self.warn(f"no Python stacks are recorded: {error}")

    def _start_memory_history(self) -> None:
        from deepseek_prof.collectors.memory_labels import LayerLabels
        from deepseek_prof.collectors.memory_snapshot import start_history
        from deepseek_prof.collectors.operators import NativeRecorder

        labels = None
        # One alone may watch the layers.
        if isinstance(self.recorder, NativeRecorder) and self.settings.cuda != "events":
            labels = LayerLabels(self.recorder, lambda: self.position()[2], self.warn)
        try:
            start_history(self.warn, labels)
        except (RecorderError, RuntimeError, AttributeError) as error:  # a private interface of torch
            self.settings = replace(self.settings, memory_snapshot=False)
            self.warn(f"no memory snapshot: {error}")

    def _dump_memory_snapshot(self) -> None:
        from deepseek_prof.collectors.memory_snapshot import dump_snapshot

        try:
            if not dump_snapshot(self.directory):
                self.warn(f"no memory snapshot: process {self._pid} did not use CUDA")
        except (OSError, RuntimeError, AttributeError) as error:
            self.warn(f"no memory snapshot: {error}")

    def is_of_this_process(self) -> bool:
        """False in a forked child of a recorder that follows no forks."""
        return self._pid == os.getpid()

    def position(self) -> tuple[int, int, str]:
        """Where the calling thread is: the running step or -1, a Phase's code, the innermost layer or ''."""
        return self.recorder.position() if self.recorder is not None else (-1, Phase.OTHER, "")

    def make_directory(self) -> None:
        """Make this process's folder with its description, unless it is there."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if not (self.directory / "process.json").exists():
            self.update()

    def update(self, **changes: Any) -> None:
        """Write process.json anew with these changes (atomic rename)."""
        self.description.update(changes)
        path = self.directory / "process.json"
        try:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(self.description))
            fresh.replace(path)
        except OSError:
            self._overwrite(path)

    def _overwrite(self, path: Path) -> None:
        """On a full disk, what was lost is told in the space that the file has already."""
        try:
            with path.open("r+") as file:
                file.write(json.dumps(self.description))
                file.truncate()
        except OSError as error:
            # A full disk or a removed run directory: the program goes on, the parent knows what it had.
            self.description.setdefault("warnings", []).append(f"process.json not written: {error}")

    def warn(self, message: str) -> None:
        """Say once on stderr, and in the run, what of the recording does not work."""
        print(f"deepseek-prof: warning: {message}", file=sys.stderr)
        if self.events is not None:
            self.events.log.emit("warning", "collector_failed", {"message": message})
        self.update(warnings=[*self.description.get("warnings", []), message])

    def stop(self) -> None:
        """End the recording of this process; safe to call twice."""
        if self.recorder is None or os.getpid() != self._pid:
            return
        if self.settings.stacks_rate:
            from deepseek_prof.collectors.stack_sampler import stop_stacks

            stop_stacks()
        if self.settings.memory_snapshot:
            self._dump_memory_snapshot()
        on_devices = self.cuda.stop() if self.cuda is not None else {}
        if self.events is not None:
            self.events.remove()
        gained = {**self.recorder.stop(), **on_devices}
        if self.events is not None and self.events.log.lost:
            gained["lost_events"] = self.events.log.lost
        self.recorder = self.events = self.cuda = None
        atexit.unregister(self.stop)
        self.update(ended_ns=time.monotonic_ns(), **gained)

    def describe_fork(self) -> tuple[Path, str]:
        """In a forked child: its directory and the text of its process.json."""
        self._pid = os.getpid()
        self.description = describe_process(self.settings) | {
            key: self.description[key] for key in ("recorder", "recorder_reason", "overhead") if key in self.description
        }
        self.directory = self._directory()
        return self.directory, json.dumps(self.description)


_current: Attachment | None = None


def current() -> Attachment | None:
    """The recording of this process, or None."""
    return _current


def describe_process(settings: ChildSettings) -> dict[str, Any]:
    """The keys of process.json that are known at the start; see docs/architecture.md."""
    torch = sys.modules["torch"]
    rank, local_rank, world_size = (_int_env(name) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "rank": rank,
        "local_rank": local_rank,
        "world_size": world_size,
        "start_ns": time.monotonic_ns(),
        "is_main": os.getppid() == settings.parent_pid,
        "argv": list(getattr(sys, "orig_argv", sys.argv)),
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "intra_op_threads": int(torch.get_num_threads()),
        "inter_op_threads": int(torch.get_num_interop_threads()),
        "cuda": bool(torch.version.cuda or torch.version.hip),
        "warnings": [],
    }


def _int_env(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else None


def attach() -> None:
    """Attach to this process; called by the shim when torch has been imported."""
    live = os.environ.get("DEEPSEEK_PROF_LIVE")
    if live:
        begin(Path(live), ChildSettings.from_json(os.environ.get("DEEPSEEK_PROF_SETTINGS", "")))


def begin(live_root: Path, settings: ChildSettings) -> Attachment:
    """Begin to record this process into a folder of its own below ``live_root``.

    Raises:
        RecorderError: no recorder works here, or this process is recorded already.
    """
    global _current
    if _current is not None and _current.recorder is not None:
        raise RecorderError("this process is being recorded already")
    _current = Attachment(live_root, settings)
    _current.start()
    return _current


def end() -> None:
    """End the recording that ``begin`` began."""
    if _current is not None:
        _current.stop()
