"""A terminal of the program's own: what it writes goes into a file of the run, and keys go to it from whoever asks.

The program leads a session on that terminal, so that ``isatty``, the window's size, Ctrl-C and ``/dev/tty`` are as on
any other. Its output is taken at once, whoever looks: a slow reader never holds the program back.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import selectors
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

OUTPUT_NAME = "output.log"
"""In the run directory: every byte that the program wrote to its terminal, in order."""

_CHUNK_BYTES = 1 << 16
_BUFFERED_BYTES = 1 << 18
"""More than Linux keeps of a terminal's output until it is read."""
_LARGEST_SIZE = (1 << 16) - 1
_QUERIES = re.compile(rb"\x1b\[[>=?]?[0-9;]*[cn]")
"""What asks a terminal to type an answer: the cursor's place, what it can do."""


class ProgramTerminal:
    """A pseudo-terminal with one program on it. Raises OSError where there is no terminal or no file to be had."""

    def __init__(self, output: Path, columns: int, lines: int) -> None:
        self.output = output
        self.lost_bytes = 0
        """Output that is not in the file, because it could not be written."""
        self._file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._master, self._slave = pty.openpty()
        os.set_blocking(self._master, False)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._output_lock = threading.Lock()
        self._mirror: int | None = None
        self._keys_lock = threading.Lock()
        self._keys = bytearray()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="deepseek-prof-terminal", daemon=True)
        self.resize(columns, lines)

    def spawn(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start the program on this terminal. Raises OSError."""
        try:
            child = subprocess.Popen(
                argv,
                env=env,
                stdin=self._slave,
                stdout=self._slave,
                stderr=self._slave,
                start_new_session=True,
                preexec_fn=_take_terminal,  # noqa: PLW1509  # one system call, before any thread of ours runs
            )
        finally:
            os.close(self._slave)  # the terminal ends with the program's own
        self._thread.start()
        return child

    def press(self, keys: bytes) -> None:
        """Give the program keys; Ctrl-C is ``\\x03``. Never waits."""
        with self._keys_lock:
            self._keys += keys
        self._wake()

    def interrupt(self) -> None:
        """Send SIGINT to the terminal's foreground processes, whatever Ctrl-C means to the program."""
        with suppress(OSError):  # it has ended
            group = os.tcgetpgrp(self._master)
            if group > 0:  # 0 is nobody's, and would mean our own group
                os.killpg(group, signal.SIGINT)

    def resize(self, columns: int, lines: int) -> None:
        """Tell the program the size of its window; it gets SIGWINCH where that is new."""
        size = (max(1, min(value, _LARGEST_SIZE)) for value in (lines, columns))
        with suppress(OSError):  # it has ended
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def mirror(self, fd: int, after: int) -> None:
        """Write the output to ``fd`` too, from byte ``after`` of the file on, until ``fd`` takes no more.

        Questions to the terminal in what is repeated are left out: they were answered, or it is too late.
        """
        with self._output_lock, self.output.open("rb") as file:
            file.seek(after)
            if _written(fd, _QUERIES.sub(b"", file.read())):
                self._mirror = fd

    def drain(self) -> None:
        """Once the program has ended: take what it has written, and nothing of what others write behind it."""
        self._ended = True
        self._wake()
        self._thread.join()

    def close(self) -> None:
        """Hang up, after :meth:`drain`."""
        for fd in (self._master, self._file, self._wake_read, self._wake_write):
            os.close(fd)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # told more often than it has looked
            os.write(self._wake_write, b"\0")

    def _work(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(self._master, selectors.EVENT_READ)
            left = _BUFFERED_BYTES
            while left > 0:
                ended = self._ended  # asked before looking: what was written until then is taken
                selector.modify(self._master, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._keys else 0))
                ready = {key.fd: events for key, events in selector.select(0 if ended else None)}
                if self._wake_read in ready:
                    os.read(self._wake_read, _CHUNK_BYTES)
                events = ready.get(self._master, 0)
                if events & selectors.EVENT_WRITE:
                    self._send_keys()
                if events & selectors.EVENT_READ:
                    taken = self._take_output()
                    if taken is None:
                        return
                    left -= taken if ended else 0
                elif ended:
                    return

    def _send_keys(self) -> None:
        with self._keys_lock, suppress(OSError):  # full for now, or nobody there to read them
            del self._keys[: os.write(self._master, self._keys)]

    def _take_output(self) -> int | None:
        """How many bytes there were; None where no more can come."""
        try:
            data = os.read(self._master, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the last process on the terminal has closed it
            return None
        with self._output_lock:
            if not _written(self._file, data):
                self.lost_bytes += len(data)
            if self._mirror is not None and not _written(self._mirror, data):
                self._mirror = None
        return len(data)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _written(fd: int, data: bytes) -> bool:
    """Write all of it; False where that cannot be: a full disk, a terminal that is gone."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        return False
    return True
