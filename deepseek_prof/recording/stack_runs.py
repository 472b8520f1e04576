"""Python stacks over time, as stretches in which a thread's stack did not change; from py-spy's output and from ours.

Both are read as far as they are whole: a process may have been killed at any moment.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.stack_frames import Frame, FrameTexts
from deepseek_prof.recording.stack_names import MARK_FUNCTION, WORK_FUNCTION

_THREAD = re.compile(r"thread \((\d+)\)", re.ASCII)


@dataclass
class Stretches:
    """Columns of equal length: thread, first moment, moment of the next sample with another stack, and number of the
    stack in ``stacks``.

    Times are nanoseconds of the writer's clock. ``marks`` are the moments at which the number of a mark was first
    another one, and that number (0: no mark).
    """

    tid: array[int] = field(default_factory=lambda: array("q"))
    start_ns: array[int] = field(default_factory=lambda: array("q"))
    end_ns: array[int] = field(default_factory=lambda: array("q"))
    stack: array[int] = field(default_factory=lambda: array("i"))
    stacks: dict[str, int] = field(default_factory=dict)
    marks: list[tuple[int, int]] = field(default_factory=list)
    damage: str | None = None
    """What is wrong with the file behind this."""

    def add(self, tid: int, start_ns: int, end_ns: int, stack: str) -> None:
        """Append a stretch, unless it is empty."""
        if stack and end_ns > start_ns:
            self.tid.append(tid)
            self.start_ns.append(start_ns)
            self.end_ns.append(end_ns)
            self.stack.append(self.stacks.setdefault(stack, len(self.stacks)))


class _Args(msgspec.Struct):
    filename: str = ""
    line: int | None = None


class _Event(msgspec.Struct):
    name: str
    ph: str
    ts: int
    tid: int
    args: _Args


def read_py_spy(path: Path, texts: FrameTexts, tid_of_ident: dict[int, int]) -> Stretches:
    """What ``py-spy record --format chrometrace --threads`` wrote.

    Each event opens or closes a frame of one thread at a moment in microseconds. Events of one moment are one sample.

    Raises:
        RunDamagedError: nothing can be read.
        OSError: the file cannot be read.
    """
    events, damage = _decoded(path)
    found = Stretches(damage=damage)
    threads: dict[int, _Thread] = {}
    for event in events:
        thread = threads.setdefault(event.tid, _Thread(event.tid, event.ts))
        if event.ph not in ("B", "E"):
            continue
        if event.ts != thread.since_us:
            thread.close(event.ts, found, texts, tid_of_ident)
        if event.ph == "B":
            thread.frames.append((event.name, event.args.filename, event.args.line or 0))
        elif thread.frames:
            thread.frames.pop()
    last_us = max((event.ts for event in events), default=0)
    for thread in threads.values():
        thread.close(last_us, found, texts, tid_of_ident)
    return found


class _Thread:
    def __init__(self, ident: int, now_us: int) -> None:
        self.frames: list[Frame] = []
        self.since_us = now_us
        self._ident = ident
        self._mark = 0

    def close(self, now_us: int, found: Stretches, texts: FrameTexts, tid_of_ident: dict[int, int]) -> None:
        """The stack stood until now."""
        if self.frames:
            ours = [frame[0].rpartition(".")[2] for frame in self.frames if texts.is_ours(frame)]
            if WORK_FUNCTION in ours:
                self._see_mark(ours.count(MARK_FUNCTION), found)
            else:
                match = _THREAD.match(self.frames[0][0])
                tid = int(match[1]) if match is not None else tid_of_ident.get(self._ident, 0)
                found.add(tid, self.since_us * 1000, now_us * 1000, texts.stack(self.frames))
        self.since_us = now_us

    def _see_mark(self, number: int, found: Stretches) -> None:
        if number != self._mark:
            found.marks.append((self.since_us * 1000, number))
            self._mark = number


def _decoded(path: Path) -> tuple[list[_Event], str | None]:
    data = path.read_bytes()
    try:
        return msgspec.json.decode(data, type=list[_Event]), None
    except msgspec.DecodeError as error:
        whole = data[: data.rfind(b"},{") + 1] + b"]"
        try:
            return msgspec.json.decode(whole, type=list[_Event]), f"cut off ({error})"
        except msgspec.DecodeError:
            raise RunDamagedError(f"{path} is damaged: {error}.") from error


def read_own_samples(path: Path, texts: FrameTexts) -> Stretches:
    """What :class:`deepseek_prof.collectors.stack_sampler.OwnSampler` wrote. Raises OSError."""
    found = Stretches()
    frames: dict[int, Frame] = {}
    stacks: dict[int, str] = {}
    open_since: dict[int, tuple[int, int]] = {}
    now_ns = 0
    try:
        for entry in _entries(path):
            if entry[0] == "f":
                frames[entry[1]] = (str(entry[2]), str(entry[3]), int(entry[4] or 0))
            elif entry[0] == "s":
                stacks[entry[1]] = texts.stack(frames[number] for number in entry[2])
            else:
                now_ns = int(entry[1])
                present = {int(tid): int(stack) for tid, stack in entry[2]}
                # Each sample is kept by itself: it is known when it was taken.
                for tid, (since_ns, stack) in open_since.items():
                    found.add(tid, since_ns, now_ns, stacks[stack])
                open_since = {tid: (now_ns, stack) for tid, stack in present.items()}
    except (ValueError, KeyError, IndexError, TypeError) as error:
        found.damage = f"{type(error).__name__}: {error}"
    return found


def _entries(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # else it is the last one of a killed process
                yield json.loads(line)
