"""A program that is recorded on a terminal of its own while somebody looks on: what ``run --live`` shows and steers."""

from __future__ import annotations

import os
import signal
import termios
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deepseek_prof.narration import HeldNarrator
from deepseek_prof.recording.program_terminal import ProgramTerminal
from deepseek_prof.recording.signals import SignalRelay, signal_name
from deepseek_prof.recording.supervisor import Recording, RunOutcome


class LiveProgram:
    """The started program. A thread waits for its end, and then completes the run."""

    def __init__(
        self, name: str, recording: Recording, terminal: ProgramTerminal, relay: SignalRelay, narrator: HeldNarrator
    ) -> None:
        self.name = name
        """The script's, as the user gave it: data."""
        self.terminal = terminal
        self.narrator = narrator
        self.must_leave = False
        """Whether we were told to end: who looks on is to give the terminal back."""
        self._recording = recording
        self._relay = relay
        relay.told = self._told
        self._returncode: int | None = None
        self._ended = threading.Event()
        thread = ThreadPoolExecutor(1, thread_name_prefix="deepseek-prof-waiter")
        self._completion: Future[RunOutcome] = thread.submit(self._work)
        thread.shutdown(wait=False)

    @property
    def output(self) -> Path:
        """The file with all that it writes."""
        return self.terminal.output

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._ended.is_set()

    @property
    def completed(self) -> bool:
        """Whether the run is converted to its end."""
        return self._completion.done()

    @property
    def ending(self) -> str:
        """How it ended, in words; empty while it runs."""
        if self._returncode is None:
            return ""
        name = signal_name(self._returncode)
        return f"exit status {self._returncode}" if name is None else f"ended by {name}"

    def wait(self) -> None:
        """Return when it has ended."""
        self._ended.wait()

    def outcome(self) -> RunOutcome:
        """How it ended and what was recorded, once the run is complete."""
        return self._completion.result()

    def _work(self) -> RunOutcome:
        self._returncode = self._recording.wait()
        self._relay.ended = True
        self._ended.set()
        return self._recording.complete(self._returncode)

    def _told(self, number: int) -> None:
        self.must_leave |= number in (signal.SIGTERM, signal.SIGHUP)
        if number == signal.SIGHUP:
            _let_go_of_lost_terminal()


def _let_go_of_lost_terminal() -> None:
    """Put ``/dev/null`` in the place of a terminal that is gone: who writes to it would fail, or wait for ever."""
    try:
        termios.tcgetattr(0)
    except termios.error:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
