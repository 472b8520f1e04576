"""One process that runs the user's program up to the captured call, and the parent's conversation with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.narration import printable
from deepseek_prof.optimizer.channel import Channel, listen
from deepseek_prof.recording.signals import signal_name
from deepseek_prof.recording.supervisor import PACKAGE_PARENT, SHIM

CAPTURE = "deepseek_prof.optimizer.capture"
_POLL_S = 0.1
_TAIL_CHARACTERS = 400
_WORK = {"prepare": "applying the passes", "round": "a round of calls"}


CandidateT = TypeVar("CandidateT", bound="Candidate")


class CandidateError(DeepseekProfError):
    """A candidate's process ended, hung or did not reach the call; the message is the reason of its row."""


@dataclass(frozen=True)
class Target:
    """Which call of which root module is captured, in which program."""

    argv: tuple[str, ...]
    root: str
    call: int
    """Number of the call among those of the root in this mode, from 0."""
    training: bool
    metric: str | None = None
    environment: tuple[tuple[str, str], ...] = ()


def job_environment(job: Mapping[str, Any], attach: str = CAPTURE) -> dict[str, str]:
    """The user's environment and what lets the shim attach ``attach`` to the program with this job."""
    before = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{SHIM}{os.pathsep}{before}" if before else str(SHIM),
        "DEEPSEEK_PROF_PACKAGE": str(PACKAGE_PARENT),
        "DEEPSEEK_PROF_ATTACH": attach,
        "DEEPSEEK_PROF_JOB": json.dumps({"parent_pid": os.getpid(), **job}),
    }


class Candidate:
    """A started process; ``with`` ends it and all that it started.

    ``attach`` is our half in it, ``more`` what its job holds besides the target.
    """

    def __init__(self, target: Target, attach: str = CAPTURE, more: Mapping[str, Any] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="deepseek-prof-")
        socket_path = Path(self._folder.name, "s")
        self._server = listen(socket_path)
        self._log = Path(self._folder.name, "output")
        job = {
            "do": "capture",
            "socket": str(socket_path),
            "root": target.root,
            "call": target.call,
            "training": target.training,
            "metric": target.metric,
            **(more or {}),
        }
        with self._log.open("wb") as log, _uninterrupted():
            self._process = subprocess.Popen(
                target.argv,
                env={**job_environment(job, attach), **dict(target.environment)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle: what was measured is kept
            )
            weakref.finalize(self, _end, self._process)
        self._channel: Channel | None = None
        self.argv = target.argv
        self.signatures: tuple[str, ...] = ()

    def reach(self, timeout_s: float) -> None:
        """Wait until the program is at the captured call. Raises CandidateError."""
        deadline_s = time.monotonic() + timeout_s
        self._server.settimeout(_POLL_S)
        while self._channel is None:
            try:
                self._channel = Channel(self._server.accept()[0])
            except TimeoutError:
                if self._process.poll() is not None:
                    raise CandidateError(self._ending()) from None
                if time.monotonic() > deadline_s:
                    raise CandidateError(f"the program did not import torch within {timeout_s:.0f} s") from None
        told = self._answer(deadline_s, f"did not reach the captured call within {timeout_s:.0f} s")
        if told.get("told") != "captured":
            raise CandidateError(f"{told.get('reason')}; {self._ending()}")
        self.signatures = tuple(told["signatures"])

    def ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a message and wait for its answer. Raises CandidateError, also for an answer ``failed``."""
        assert self._channel is not None
        try:
            self._channel.send(message)
        except OSError:
            raise CandidateError(self._ending()) from None
        work = _WORK.get(message["do"], f"the answer to {message['do']!r}")
        late = f"{work} took more than {timeout_s:.0f} s, all that --budget left or that it may take"
        told = self._answer(time.monotonic() + timeout_s, late)
        if told.get("status") == "failed":
            raise CandidateError(printable(str(told.get("reason"))))
        return told

    def _answer(self, deadline_s: float, late: str) -> dict[str, Any]:
        assert self._channel is not None
        try:
            told = self._channel.receive(max(deadline_s - time.monotonic(), 0))
        except EOFError:
            raise CandidateError(self._ending()) from None
        if told is None:
            raise CandidateError(late)
        return told

    def _ending(self) -> str:
        """How the process ended, with the end of what it printed."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "the process hung up and runs on"
        printed = self._log.read_text(errors="replace").strip()[-_TAIL_CHARACTERS:]
        how = f"exit status {status}" if status >= 0 else f"killed by {signal_name(status)}"
        if status == -signal.SIGKILL:
            how += ", as the kernel does where memory is used up"
        return printable(f"{how}{': ' if printed else ''}{printed}")

    def __enter__(self: CandidateT) -> CandidateT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and what it started."""
        if self._channel is not None:
            self._channel.close()
        self._server.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process whose candidate was given up before anybody could close it."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes only after this: a process that is being started would be known to nobody."""
    if threading.current_thread() is not threading.main_thread():  # where Python delivers no signals anyway
        yield
        return
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


def prepared(target: Target, passes: Sequence[tuple[str, dict[str, Any]]], timeout_s: float) -> tuple[Candidate, Any]:
    """A candidate at the call, with its passes applied, and its answer. Raises CandidateError."""
    deadline_s = time.monotonic() + timeout_s
    candidate = Candidate(target)
    try:
        candidate.reach(timeout_s)
        answer = candidate.ask({"do": "prepare", "passes": list(passes)}, max(deadline_s - time.monotonic(), 1))
    except BaseException:
        candidate.close()
        raise
    return candidate, answer
