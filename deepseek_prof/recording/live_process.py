"""One process's folder under ``live/``: its segments, contexts, steps and description, read while it may run on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.contexts_log import ContextsLogReader
from deepseek_prof.recording.graph_replays import GraphCaptures
from deepseek_prof.recording.live_format import CRC, STATE_OFFSET, SegmentState
from deepseek_prof.recording.signatures import Signature, parse_signature
from deepseek_prof.recording.steps import StepsReader


class LiveProcess:
    """Reads one ``live/<pid>-<start>`` folder."""

    def __init__(self, directory: Path, pid: int, order: tuple[int, int]) -> None:
        self.directory = directory
        self.pid = pid
        self.order = order
        """Sorts processes by their start."""
        self.contexts = ContextTable()
        self.graph_captures = GraphCaptures()
        self.signatures: dict[int, Signature] = {}
        self.steps = StepsReader(directory)
        self.steps_written = 0
        """Steps that the steps file holds."""
        self.steps_due_s = 0.0
        """When it may be written again (``time.monotonic``)."""
        self.dropped_spans: dict[int, int] = {}
        """By thread: what the writer says it could not write, as far as segment headers tell."""
        self.finished = False
        """Nothing more can come from it, and all of it is converted."""
        self.log_damage: str | None = None
        self.earlier_contexts: pa.Table | None = None
        """What the contexts file of this pid held before this process was converted."""
        self._log = ContextsLogReader(directory / "contexts.log")

    def segments(self) -> list[Path]:
        """The span segments that are there now, each thread's in order."""
        return sorted(self.directory.glob("t*-*.seg"))

    def refresh_contexts(self) -> bool:
        """Reads new contexts and signatures, and says whether there were any. Raises OSError."""
        try:
            log = self._log.read_new()
        except FileNotFoundError:
            return False  # made with the first span
        if log.damage is not None:
            self.log_damage = log.damage
        self.contexts.add(log.contexts)
        for signature_id, text in log.signatures.items():
            signature = parse_signature(text)
            if signature is not None:
                self.signatures[signature_id] = signature
        return bool(log.contexts or log.signatures)

    def description(self) -> dict[str, Any]:
        """What ``process.json`` says; empty where the process was killed before it wrote one."""
        path = self.directory / "process.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            return {"warnings": [f"{path.name} of process {self.pid} could not be read: {error}"]}
        return data if isinstance(data, dict) else {"warnings": [f"{path.name} of process {self.pid} is not an object"]}

    def is_alive(self) -> bool:
        """Whether the process may still write. A zombie does not, nor does a later process with the same number."""
        if "ended_ns" in self.description():
            return False  # it records no more, even where it runs on, as a notebook does
        try:
            process = psutil.Process(self.pid)
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return False
            # Only the process itself writes the log, so it was there before the log's last change.
            started_s: float = process.create_time()
            return started_s <= (self.directory / "contexts.log").stat().st_mtime + 1.0
        except psutil.NoSuchProcess:
            return False
        except (psutil.Error, FileNotFoundError):
            return True  # it is there, and nothing tells that it is another one


def segment_state(segment: Path) -> SegmentState:
    """Who disposes of the segment next; WRITING too for a header that says anything else. Raises OSError."""
    fd = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
    try:
        (state,) = CRC.unpack(os.pread(fd, CRC.size, STATE_OFFSET).ljust(CRC.size, b"\0"))
    finally:
        os.close(fd)
    return SegmentState(state) if state in tuple(SegmentState) else SegmentState.WRITING


def waiting_segments(segments: Iterable[Path], *, alive: bool) -> dict[Path, SegmentState]:
    """Those that hold something to convert; ``alive`` says whether their writer lives. Raises OSError."""
    states: dict[Path, SegmentState] = {}
    for path in segments:
        try:
            state = segment_state(path)
        except FileNotFoundError:
            continue  # converted, and taken back by its writer just now
        if state is not SegmentState.CONVERTED:
            states[path] = state
        elif not alive:
            path.unlink(missing_ok=True)
    return states


def dispose(segment: Path, *, alive: bool) -> None:
    """Gives a converted segment back to the living writer who has lent it, or deletes it. Raises OSError."""
    if alive:
        fd = os.open(segment, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.pread(fd, CRC.size, STATE_OFFSET) == CRC.pack(SegmentState.LENT):
                os.pwrite(fd, CRC.pack(SegmentState.CONVERTED), STATE_OFFSET)
                return
        finally:
            os.close(fd)
    segment.unlink(missing_ok=True)


def find_processes(live: Path, known: dict[str, LiveProcess]) -> tuple[list[LiveProcess], list[str]]:
    """The processes under ``live/`` by start, new ones added to ``known``, and the names of foreign folders."""
    foreign = []
    for entry in os.scandir(live):
        if entry.name in known or not entry.is_dir(follow_symlinks=False):
            continue
        pid, dash, start = entry.name.partition("-")
        if not (dash and pid.isascii() and pid.isdecimal() and len(pid) <= 10):
            foreign.append(entry.name)
            continue
        started = int(start, 16) if re.fullmatch("[0-9a-f]{1,16}", start) else 0
        known[entry.name] = LiveProcess(Path(entry.path), int(pid), (started, int(pid)))
    return sorted(known.values(), key=lambda process: process.order), foreign


def steps_file_name(process: LiveProcess, processes: Iterable[LiveProcess]) -> str:
    """The Parquet file of a process's steps, numbered by how many of ``processes`` had the same pid before."""
    return f"steps-{pid_turn(process, processes):05d}.parquet"


def pid_turn(process: LiveProcess, processes: Iterable[LiveProcess]) -> int:
    """How many of ``processes`` had the same pid before."""
    return sum(other.pid == process.pid and other.order < process.order for other in processes)
