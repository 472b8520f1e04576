"""Python stacks, the half inside the profiled process: admits py-spy, marks moments that date what py-spy sees, and
samples this process itself where py-spy is refused.

Standard library only: it runs in the user's environment. All of it is one thread, mostly asleep, that the
``threading`` module does not know. It ends before a fork, so that Python finds no more threads than without it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice, tee
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from deepseek_prof.recording.stack_names import (
    MARK_NUMBERS,
    MARK_PERIODS,
    MARKS_NAME,
    OWN_SAMPLES_NAME,
    REFUSED_NAME,
)

if TYPE_CHECKING:
    from _thread import LockType

    from deepseek_prof.collectors.child import Attachment

PR_SET_PTRACER = 0x59616D61
_FIRST_WAIT_S = 0.02
"""A forked child that is gone by then leaves no trace."""
_EAGER_S, _EAGER_GAP_S, _GAP_S = 3.0, 0.05, 1.0
"""Marks are dense at first, so that short programs are dated well too."""
_STOP_S = 2.0

_thread: StackThread | None = None
_hooks_registered = False


def start_stacks(attachment: Attachment, rate_hz: int) -> None:
    """Let the parent's py-spy sample this process and those that it forks. Raises OSError."""
    global _thread, _hooks_registered
    _admit(attachment.settings.parent_pid)
    _thread = StackThread(attachment, rate_hz)
    _thread.start()
    if not _hooks_registered:
        _hooks_registered = True
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def stop_stacks() -> None:
    """End the thread; nothing to do is no error."""
    global _thread
    if _thread is not None:
        _thread.stop()
        _thread = None


def _admit(pid: int) -> None:
    """Yama lets a process be read by its ancestors only, unless it names another: ``pid`` and what that starts."""
    if pid > 0:
        # EINVAL where the kernel has no Yama: then there is nothing to admit to.
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(pid), 0, 0, 0)


def _before_fork() -> None:
    if _thread is not None:
        _thread.stop()


def _after_fork() -> None:
    if _thread is not None:
        _start_or_warn(_thread)


def _after_fork_in_child() -> None:
    global _thread
    if _thread is None:
        return
    attachment, rate_hz = _thread.attachment, _thread.rate_hz
    _thread = None
    if attachment.is_of_this_process():  # not with a recorder that follows no forks
        _admit(attachment.settings.parent_pid)
        _thread = StackThread(attachment, rate_hz)
        _start_or_warn(_thread)


def _start_or_warn(thread: StackThread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # no thread to be had; the fork is the program's and must not fail for that
        thread.attachment.warn(f"no more Python stacks are recorded: {error}")


class StackThread:
    """The thread; see the module. ``start`` and ``stop`` may follow each other any number of times."""

    def __init__(self, attachment: Attachment, rate_hz: int) -> None:
        self.attachment = attachment
        self.rate_hz = rate_hz
        self._number = 0
        self._begin_s = time.monotonic()
        self._wake: LockType | None = None
        self._done: LockType | None = None

    def start(self) -> None:
        """Start the thread, unless it runs: two threads of the program may fork at once."""
        if self._wake is not None:
            return
        wake, done = allocate_lock(), allocate_lock()
        wake.acquire()
        done.acquire()
        start_new_thread(self._stack_work, (wake, done))
        self._wake, self._done = wake, done

    def stop(self) -> None:
        """End the thread and wait for it."""
        if self._wake is not None and self._done is not None:
            self._wake.release()
            self._done.acquire(timeout=_STOP_S)
            self._wake = self._done = None

    def _stack_work(self, wake: LockType, done: LockType) -> None:
        try:
            if not wake.acquire(timeout=_FIRST_WAIT_S):
                self.attachment.make_directory()
                directory = self.attachment.directory
                if not (directory / REFUSED_NAME).exists():
                    self._mark_until_refused(directory, wake)
                if (directory / REFUSED_NAME).exists():
                    OwnSampler(directory, self.rate_hz).work(wake)
        except OSError:
            # The disk is full or the run directory is gone: the program goes on, and the recorder tells of it.
            return
        finally:
            done.release()

    def _mark_until_refused(self, directory: Path, wake: LockType) -> None:
        """Returns when the parent says that py-spy is refused, or when the thread is to end."""
        length_s = MARK_PERIODS / self.rate_hz
        known: set[tuple[int, int]] = set()
        with _Appended(directory / MARKS_NAME) as file:
            while not (directory / REFUSED_NAME).exists():
                self._number = self._number % MARK_NUMBERS + 1
                start_ns = time.monotonic_ns()
                ending = _stack_mark(self._number - 1, wake, length_s)
                file.write(f"{start_ns} {time.monotonic_ns()} {self._number}\n")
                if sys.version_info < (3, 11):
                    new = thread_ids().items() - known  # py-spy cannot tell the thread from its ident
                    known |= new
                    file.write("".join(f"{ident} {tid}\n" for ident, tid in new))
                eager = time.monotonic() - self._begin_s < _EAGER_S
                if ending or wake.acquire(timeout=max(_EAGER_GAP_S if eager else _GAP_S, 2 * length_s)):
                    return


def _stack_mark(deeper: int, wake: LockType, length_s: float) -> bool:
    """Stands ``deeper + 1`` times in the stack for a while; whether the thread is to end."""
    return _stack_mark(deeper - 1, wake, length_s) if deeper else wake.acquire(timeout=length_s)


class OwnSampler:
    """Samples the stacks of this process's other threads at a fixed rate.

    JSON Lines: ``["f", id, function, file, line]`` a frame, ``["s", id, [frame ids, root first]]`` a stack,
    ``["t", ts_ns, [[tid, stack id], …]]`` a sample of all threads; ids count from 0, times are CLOCK_MONOTONIC.
    """

    def __init__(self, directory: Path, rate_hz: int) -> None:
        self._path = directory / OWN_SAMPLES_NAME
        self._period_ns = 1_000_000_000 // rate_hz
        self._frames: dict[tuple[CodeType, int], int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}
        self._lines: list[str] = []

    def work(self, wake: LockType) -> None:
        """Sample until ``wake`` can be had."""
        due_ns = time.monotonic_ns()
        with _Appended(self._path) as file:
            while True:
                now_ns = time.monotonic_ns()
                self._sample(now_ns)
                file.write("".join(self._lines))
                self._lines.clear()
                due_ns = max(due_ns + self._period_ns, now_ns)  # what is late is left out, not made up for
                if wake.acquire(timeout=max(0, due_ns - time.monotonic_ns()) / 1e9):
                    return

    def _sample(self, now_ns: int) -> None:
        own = get_ident()
        found = []
        # No frame outlives this function: it would keep the program's tensors alive.
        frames, tids = running_threads()
        for (ident, frame), tid in zip(frames.items(), tids, strict=True):
            if ident != own:
                found.append([tid, self._stack(frame)])
        self._line("t", now_ns, found)

    def _stack(self, leaf: FrameType) -> int:
        frame: FrameType | None = leaf
        path = []
        while frame is not None:
            key = (frame.f_code, frame.f_lasti)
            number = self._frames.get(key)
            if number is None:
                number = self._frames[key] = len(self._frames)
                code = frame.f_code
                name = getattr(code, "co_qualname", code.co_name)  # as py-spy: with its class from Python 3.11 on
                self._line("f", number, name, code.co_filename, frame.f_lineno)
            path.append(number)
            frame = frame.f_back
        stack = tuple(reversed(path))
        number = self._stacks.get(stack)
        if number is None:
            number = self._stacks[stack] = len(self._stacks)
            self._line("s", number, stack)
        return number

    def _line(self, *entry: object) -> None:
        self._lines.append(json.dumps(entry, separators=(",", ":")) + "\n")


def running_threads() -> tuple[dict[int, FrameType], list[int]]:
    """The innermost frames of all threads by ``threading.get_ident()``, and the kernel's numbers of these threads.

    To ask for the clock of a thread that has ended is an error or reads freed memory. Both lists come from one call
    into C, in which no other thread can run Python, and so none can end.
    """
    taken, asked = tee(islice(iter(sys._current_frames, None), 1))
    with _no_collection():
        clocks = list(map(time.pthread_getcpuclockid, chain.from_iterable(asked)))
    # Linux puts the number into that of the thread's CPU clock, as include/linux/posix-timers.h lays out.
    return next(taken), [~(clock >> 3) for clock in clocks]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python 3.11 makes frame objects under the lock that threads need to start and to end: a collection in between,
    which may run the program's code, could wait for such a thread for ever."""
    collects = sys.version_info[:2] == (3, 11) and gc.isenabled()
    if collects:
        gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def thread_ids() -> dict[int, int]:
    """The kernel's numbers of all threads that run Python, by ``threading.get_ident()``."""
    return dict(zip(*running_threads(), strict=True))


class _Appended:
    """A file that grows by whole writes, at its end also after a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Appended:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self

    def write(self, text: str) -> None:
        """Append. Raises OSError."""
        os.write(self._fd, text.encode("utf-8", "surrogatepass"))

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
