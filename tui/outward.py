"""What leads out of the app: the equivalent command line, the flame graph in the browser, exports."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches

from deepseek_prof.text import clean
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.screens.export import ExportScreen, Wanted
from deepseek_prof.tui.screens.message import MessageScreen
from deepseek_prof.tui.worker import run_latest

PROGRAM = "deepseek-prof"
_SAID_LIMIT = 4_000


def command_line(words: Sequence[str], path: Path, query: str) -> list[str]:
    """The words of the command that says of ``query`` what a pane shows; ``words`` are the pane's own."""
    run = path.name if path.parent == Path.cwd() / ".deepseek-prof" else str(path)
    safe = {
        "run": ("--run", run) if run.startswith("-") else (run,),
        "query": ("--query", query) if query.startswith("-") else ((query,) if query.strip() else ()),
    }
    return [PROGRAM, *words, *safe["run"], *safe["query"]]


class OutwardApp(App[int]):
    """The app's ways out; :class:`deepseek_prof.tui.app.ProfilerApp` has the rest."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_command", "Copy command line", show=False),
        Binding("f", "flame", "Flame in browser", show=False),
        Binding("e", "export", "Export", show=False),
    ]

    path: Path
    session: RunSession | None
    selection: Selection
    formats: Callable[[], Mapping[str, tuple[str, str]]]
    """Those of ``deepseek-prof export``: what reads each, and the suffix of its files."""

    def __init__(self) -> None:
        super().__init__()
        self._children: list[asyncio.subprocess.Process] = []

    @property
    def pane(self) -> Pane[Any] | None:
        """The pane that is seen."""
        raise NotImplementedError

    def action_copy_command(self) -> None:
        """Put the command that says the same into the clipboard, and show it."""
        words = ("report",) if self.pane is None else self.pane.command(self.selection)
        line = shlex.join(command_line(words, self.path, self.selection.query))
        self.copy_to_clipboard(line)
        self.notify(clean(line, 600), title="Copied", markup=False)

    def action_flame(self) -> None:
        """Open what is selected as a flame graph in the browser; the server ends with the app."""
        self.notify("Making the flame graph …", markup=False)
        run_latest(self, "flame", self._flame)

    async def _flame(self) -> None:
        line = command_line(("flame",), self.path, self.selection.query)
        process = await self._start(line)
        said: list[str] = []
        # The server says where it is, then serves until nobody asks any more: its lines are shown as they come.
        async for text in _lines(process):
            said.append(text)
            self.notify(clean(text, 600), title="Flame graph", markup=False, timeout=20)
        if await process.wait() != 0:
            self._tell_failure(line, "\n".join(said))

    def action_export(self) -> None:
        """Ask for a format and a file, then write it."""
        formats = self.formats()
        if not formats:
            self.notify("This installation has no exporters.", severity="warning", markup=False)
            return
        name = self.path.name if self.session is None else self.session.name
        self.push_screen(ExportScreen(formats, name, self.selection.query), self._export)

    def _export(self, wanted: Wanted | None) -> None:
        if wanted is not None:
            self.run_worker(self._write(wanted), group="export")

    async def _write(self, wanted: Wanted) -> None:
        words = ("export", wanted.format, "-o", str(wanted.file))
        line = command_line(words, self.path, self.selection.query)
        self.notify(f"Writing {clean(str(wanted.file))} …", markup=False)
        process = await self._start(line)
        said = [text async for text in _lines(process)]
        if await process.wait() != 0:
            self._tell_failure(line, "\n".join(said))
        else:
            self.notify(f"Wrote {clean(str(wanted.file))}.", title="Export", markup=False, timeout=10)

    async def _start(self, line: Sequence[str]) -> asyncio.subprocess.Process:
        """Run a command of ours with this interpreter; it shares neither our terminal nor our process group."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deepseek_prof",
            *line[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1"},
            start_new_session=True,
        )
        self._children.append(process)
        return process

    def _tell_failure(self, line: Sequence[str], said: str) -> None:
        try:
            self.push_screen(MessageScreen("It did not work", f"{shlex.join(line)}\n\n{said[-_SAID_LIMIT:]}"))
        except NoMatches:  # the app is being left: there is no screen to say it on
            return

    def end_children(self) -> None:
        """End the commands that still run."""
        for process in self._children:
            if process.returncode is None:
                process.terminate()


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert process.stdout is not None
    async for line in process.stdout:
        text = line.decode("utf-8", "replace").strip()
        if text:
            yield text
