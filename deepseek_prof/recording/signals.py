"""Signals while the user's command runs: it gets them as it would without us, and its end becomes ours."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
"""Sent by the terminal to the whole foreground group: the command has them already."""


class SignalRelay:
    """Passes signals that reach us on to the command; those before it has started, once it has.

    ``own_terminal``: the command is not on our terminal, whose keys thus never reach it.
    """

    def __init__(self, *, own_terminal: bool = False) -> None:
        self.told: Callable[[int], None] | None = None
        """Hears of each signal, after the command."""
        self.ended = False
        """Whether the command is gone, and its number may be another's."""
        self._own_terminal = own_terminal
        self._pid: int | None = None
        self._waiting: list[int] = []

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The handler for all of them."""
        if number in _FROM_TERMINAL and not self._own_terminal and _in_foreground():
            return
        if self._pid is None:
            self._waiting.append(number)
        elif not self.ended:
            _send(self._pid, number)
        if self.told is not None:
            self.told(number)

    def started(self, pid: int) -> None:
        """The command runs as ``pid``."""
        self._pid = pid
        for number in self._waiting:
            _send(pid, number)
        self._waiting.clear()


@contextmanager
def relayed_signals(relay: SignalRelay | None = None) -> Iterator[SignalRelay]:
    """While the block runs, signals belong to the command. What was ignored (``nohup``) stays ignored for both."""
    relay = relay or SignalRelay()
    before: dict[int, Any] = {}
    try:
        for number in (*_FORWARDED, *_FROM_TERMINAL):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, relay.handle)
        yield relay
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


def die_like(returncode: int) -> int:
    """End this process by the signal that ended the command; returns the status to exit with where there was none.

    Args:
        returncode: of ``subprocess``: negative for a signal.
    """
    if returncode >= 0:
        return returncode
    number = -returncode
    # The command left its own core file, if any; ours would only hide it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number  # a signal whose default is to do nothing


def signal_name(returncode: int) -> str | None:
    """``SIGKILL`` for -9; None for an exit status."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _in_foreground() -> bool:
    """Whether the terminal's keys reach us, and with us the command, which shares our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
