"""Python stacks, the half in the parent: one py-spy beside each recorded process, or word to it to sample itself.

One py-spy a process and not one for all of them: its ``chrometrace`` output, the only one with times, tells the threads
of different processes apart by an address, which forked processes share. It keeps everything in memory until it ends,
so that a fresh one takes over every :data:`SEGMENT_S`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from deepseek_prof.collectors.stack_sampler import PR_SET_PTRACER
from deepseek_prof.recording.stack_names import ENDED_THREADS_NAME, MARKS_NAME, REFUSED_NAME, note_name

SEGMENT_S = 30.0
OVERLAP_S = 1.5
"""The next py-spy has at least so much time to begin, before the last one ends."""
_LIMIT_S = 600
"""A py-spy whose parent has died stops by itself, so that its memory stays bounded."""
_END_S = 10.0
NOT_INSTALLED = "py-spy is not installed"
_ADMITTING = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_SET_PTRACER}, ctypes.c_ulong(os.getppid()), 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
"""


def find_py_spy() -> str | None:
    """The program of the installed package, beside the Python that runs us or on ``PATH``."""
    beside = Path(sys.executable).parent / "py-spy"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("py-spy")


def why_refused(program: str) -> str | None:
    """Lets py-spy read a process that has admitted it; None where that works, else why it does not."""
    with subprocess.Popen([sys.executable, "-c", _ADMITTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as target:
        if target.stdout is None or not target.stdout.readline():
            return "a test process could not be started"
        done = subprocess.run(
            [program, "dump", "--nonblocking", "--pid", str(target.pid)], capture_output=True, text=True, check=False
        )
    return None if done.returncode == 0 else _reason(done.stderr, done.returncode)


class PythonStacks:
    """Samples the Python stacks of every recorded process of one run, ``rate_hz`` times a second."""

    name = "python_stacks"

    def __init__(self, rate_hz: int, *, native: bool = False) -> None:
        self._rate_hz = rate_hz
        self._native = native
        self._program = find_py_spy()
        self._watched: dict[str, _Watched] = {}

    def poll(self, live: Path) -> None:
        """Begin with new processes, and end or go on with the others. Raises OSError."""
        # Its first mark says that the process has admitted us.
        for path in live.glob(f"*/{MARKS_NAME}"):
            pid = path.parent.name.partition("-")[0]
            if path.parent.name not in self._watched and pid.isdecimal():
                for process in self._watched.values():
                    if process.pid == int(pid):
                        process.end()  # it has become another program
                self._watched[path.parent.name] = _Watched(path.parent, int(pid), self._command(int(pid)))
        for process in self._watched.values():
            process.poll()

    def finish(self, live: Path) -> None:
        """End every py-spy and wait until its output is written. Raises OSError."""
        self.poll(live)
        for process in self._watched.values():
            process.end()
        deadline_s = time.monotonic() + _END_S
        for process in self._watched.values():
            process.wait(deadline_s)

    def _command(self, pid: int) -> list[str] | None:
        if self._program is None:
            return None
        return [
            self._program,
            "record",
            *("--pid", str(pid), "--rate", str(self._rate_hz), "--duration", str(_LIMIT_S)),
            # Idle threads too: without them the time that a thread waits would count for what it did before.
            *("--format", "chrometrace", "--threads", "--idle"),
            "--native" if self._native else "--nonblocking",
        ]


class _Watched:
    """One process and its py-spies: the present one, and at times the one before it, that is ending."""

    def __init__(self, directory: Path, pid: int, command: list[str] | None) -> None:
        self._directory = directory
        self.pid = pid
        self._command = command
        self._running: list[tuple[float, subprocess.Popen[bytes]]] = []
        self._number = 0
        self._over = False
        self._threads: dict[int, int] = {}
        """When each was last seen."""
        if command is None:
            self._refuse(NOT_INSTALLED)
        else:
            self._start(command)

    def poll(self) -> None:
        """Reap what has ended, and see to it that one is running."""
        self._see_threads()
        for entry in list(self._running):
            if entry[1].poll() is not None:
                self._running.remove(entry)
                self._reaped(entry[1])
        if self._over or self._command is None:
            return
        if self._has_ended():
            self.end()
        elif not self._running or time.monotonic() - self._running[-1][0] > SEGMENT_S:
            self._start(self._command)
        elif len(self._running) > 1 and self._newest_has_begun():
            self._running[0][1].send_signal(signal.SIGINT)

    def end(self) -> None:
        """No more samples of this process."""
        self._over = True
        if not self._is_gone():  # else py-spy sees it as well and writes what it has
            self._interrupt()

    def wait(self, deadline_s: float) -> None:
        """Until they have written what they have; one that takes longer is killed, with its part of the samples."""
        for _, py_spy in self._running:
            try:
                py_spy.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                py_spy.kill()
                py_spy.wait()
            self._reaped(py_spy)
        self._running.clear()

    def _start(self, command: list[str]) -> None:
        start_ns = time.monotonic_ns()
        output = self._directory / f"stacks-{self._number:05d}.json"
        with output.with_suffix(".err").open("wb") as errors, output.with_suffix(".out").open("wb") as news:
            py_spy = subprocess.Popen(
                [*command, "--output", str(output)],
                stdin=subprocess.DEVNULL,
                stdout=news,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is the program's, which may go on after it
            )
        self._running.append((time.monotonic(), py_spy))
        (self._directory / note_name(self._number)).write_text(json.dumps({"pid": py_spy.pid, "start_ns": start_ns}))
        self._number += 1

    def _newest_has_begun(self) -> bool:
        """py-spy says so once it has read the process, which takes seconds on a busy machine."""
        news = self._directory / f"stacks-{self._number - 1:05d}.out"
        return time.monotonic() - self._running[-1][0] > OVERLAP_S and news.stat().st_size > 0

    def _reaped(self, py_spy: subprocess.Popen[bytes]) -> None:
        if py_spy.returncode == 0 or self._over or self._is_gone():
            return
        errors = self._directory / f"stacks-{self._number - 1:05d}.err"
        self._refuse(_reason(errors.read_text(errors="replace"), py_spy.returncode))

    def _interrupt(self) -> None:
        for _, py_spy in self._running:
            py_spy.send_signal(signal.SIGINT)

    def _refuse(self, reason: str) -> None:
        self._command = None
        self._interrupt()  # the process samples itself from now on
        (self._directory / REFUSED_NAME).write_text(reason)

    def _see_threads(self) -> None:
        """py-spy does not tell that a thread has ended."""
        now_ns = time.monotonic_ns()
        try:
            present = {int(path.name) for path in Path(f"/proc/{self.pid}/task").iterdir()}
        except OSError:
            present = set()
        ended = self._threads.keys() - present
        if ended:
            with (self._directory / ENDED_THREADS_NAME).open("a") as file:
                file.writelines(f"{tid} {self._threads.pop(tid)}\n" for tid in sorted(ended))
        self._threads.update(dict.fromkeys(present, now_ns))

    def _has_ended(self) -> bool:
        """Whether its recording has, even where the process runs on."""
        try:
            return self._is_gone() or "ended_ns" in json.loads((self._directory / "process.json").read_bytes())
        except ValueError:
            return False  # half of it is on the disk

    def _is_gone(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True


def _reason(errors: str, returncode: int) -> str:
    """One line on why py-spy ended."""
    if "permission denied" in errors.lower() or "Operation not permitted" in errors:
        return "py-spy may not read this process (ptrace is refused)"
    first = next((line.strip() for line in errors.splitlines() if line.strip()), f"exit status {returncode}")
    return f"py-spy failed: {first[:300]}"
