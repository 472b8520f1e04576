"""Our own terminal, lent to the program's: keys, size and output go through as though the program were on it."""

from __future__ import annotations

import os
import selectors
import signal
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from deepseek_prof.recording.program_terminal import ProgramTerminal

_CHUNK_BYTES = 1 << 12


def pass_through(terminal: ProgramTerminal, wait: Callable[[], object], after: int) -> None:
    """Put the program on our terminal until ``wait`` returns; its output from byte ``after`` on is repeated first."""
    ended_read, ended_write = os.pipe2(os.O_CLOEXEC)

    def watch() -> None:
        wait()
        os.close(ended_write)

    watcher = threading.Thread(target=watch, name="deepseek-prof-end", daemon=True)
    with _raw_terminal(), _size_follows(terminal):
        terminal.mirror(1, after)
        watcher.start()
        _send_keys(terminal, ended_read)
        watcher.join()
        terminal.drain()
    os.close(ended_read)


def _send_keys(terminal: ProgramTerminal, ended: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if ended in ready:
                return
            keys = b""
            with suppress(OSError):  # our terminal is gone
                keys = os.read(0, _CHUNK_BYTES)
            if keys:
                terminal.press(keys)
            else:
                selector.unregister(0)


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Keys as bytes, Ctrl-C too; output as the program's own terminal has made it."""
    try:
        before = termios.tcgetattr(0)
        tty.setraw(0)
    except termios.error:  # our terminal is gone
        yield
        return
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _size_follows(terminal: ProgramTerminal) -> Iterator[None]:
    def resize(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):  # our terminal is gone
            terminal.resize(*os.get_terminal_size(0))

    before = signal.signal(signal.SIGWINCH, resize)
    resize(signal.SIGWINCH, None)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
