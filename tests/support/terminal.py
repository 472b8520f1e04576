"""Runs a command on a terminal of its own, as a user's shell does."""

from __future__ import annotations

import os
import pty
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_INTERRUPT_KEY = b"\x03"


class Terminal:
    """A command in the foreground of a new terminal. Use as a context manager."""

    def __init__(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(words[0], list(words), dict(env))
        self._output = b""
        self._ended = False

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def interrupt(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to the foreground process group."""
        self.press(_INTERRUPT_KEY)

    def wait_for(self, text: bytes) -> None:
        """Read until the command has written ``text``; fails if it ends before."""
        while text not in self._output:
            assert self._read(), f"ended without {text!r}: {self._output!r}"

    def end(self) -> tuple[bytes, int]:
        """Read to the end; returns all output with plain line ends, and the status as ``subprocess`` gives it."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        self._ended = True
        return re.sub(rb"\r+\n", b"\n", self._output), os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # EIO: the last process on the terminal has closed it
            return False
        self._output += data
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._master)
