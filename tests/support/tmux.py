"""A real terminal: a shell inside tmux, with its screen as text and its state to be asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pytest

PROMPT = "shell-is-ready"
_POLL_S = "0.05"


def need_tmux() -> None:
    """Skip the test where there is no tmux; on CI, which installs it, fail."""
    if shutil.which("tmux") is None:
        if os.environ.get("CI"):
            pytest.fail("tmux is missing: .ci/run installs it")
        pytest.skip("tmux is not installed")


class Tmux:
    """A shell on a terminal of its own. Use as a context manager; a test's time limit ends what never comes."""

    def __init__(self, folder: Path, env: Mapping[str, str], *, columns: int = 80, lines: int = 24) -> None:
        need_tmux()
        self._socket = folder / "tmux.sock"
        environment = {**env, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        self._run(
            "-u", "-f", "/dev/null", "new-session", "-d", "-s", "main", "-x", str(columns), "-y", str(lines),
            "sh", env=environment, cwd=folder,
        )  # fmt: skip
        # In two pieces, so that what is typed is not taken for the prompt.
        self.write(f"PS1='{PROMPT[:5]}''{PROMPT[5:]}$ '; clear")
        self.press("Enter")
        self.wait_for(PROMPT)

    def write(self, text: str) -> None:
        """Type text as it stands."""
        self._run("send-keys", "-t", "main", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by their names in tmux: ``Enter``, ``Escape``, ``Down``, ``C-c``."""
        self._run("send-keys", "-t", "main", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window another size."""
        self._run("resize-window", "-t", "main", "-x", str(columns), "-y", str(lines))

    def screen(self) -> str:
        """What stands on the screen, lines that the terminal has wrapped as one."""
        return self._run("capture-pane", "-t", "main", "-p", "-J")

    def state(self, name: str) -> str:
        """A format variable of tmux, such as ``alternate_on``, ``cursor_flag`` or ``mouse_any_flag``."""
        return self._run("display-message", "-t", "main", "-p", f"#{{{name}}}").strip()

    def wait_for(self, text: str) -> str:
        """The screen once ``text`` stands on it."""
        while text not in (shown := self.screen()):
            self._pause()
        return shown

    def wait_for_prompt(self) -> None:
        """Return once the shell waits for a command, at the end of the screen."""
        while not self.screen().rstrip().endswith(f"{PROMPT}$"):
            self._pause()

    def wait_until_gone(self, text: str) -> str:
        """The screen once ``text`` does not stand on it any more."""
        while text in (shown := self.screen()):
            self._pause()
        return shown

    def _pause(self) -> None:
        # In tmux's own process, so that a server that has died fails the test instead of being waited for.
        self._run("run-shell", f"sleep {_POLL_S}")

    def _run(self, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], env=env, cwd=cwd, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __enter__(self) -> Tmux:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, check=False)
