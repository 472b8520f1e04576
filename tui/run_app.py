"""The app and its run as a whole: opening it, following it while it is recorded, leaving it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on

from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.head import Head, Problem
from deepseek_prof.tui.live import LeaveScreen, Leaving, LiveWatch
from deepseek_prof.tui.outward import OutwardApp
from deepseek_prof.tui.worker import run_latest

if TYPE_CHECKING:
    from deepseek_prof.recording.live_program import LiveProgram

LOOK_S = 0.05
"""How often is asked whether a run in progress is to be read anew."""
REST_S = 0.3
"""So long nothing is read: with twice what reading and drawing take, it is the age of what is shown, at most."""
REST_PER_COST = 0.5
"""At least so many times what reading it anew has taken, too: the machine is the program's."""


class RunApp(OutwardApp):
    """What the app does with its run; :class:`deepseek_prof.tui.app.ProfilerApp` has the rest."""

    def __init__(self, path: Path, query: str, program: LiveProgram | None) -> None:
        """``program`` is the one that we record, if any."""
        super().__init__()
        self.program = program
        """The program that we record, with ``run --live``."""
        self.path = path
        self.session: RunSession | None = None
        self.selection = Selection(query)
        self._reopening = False
        self._reopened_s = 0.0

    def run_opened(self) -> None:
        """The run can be shown: fill the screen."""
        raise NotImplementedError

    def show_selection(self) -> None:
        """Show the selection, in place of what was wrong."""
        raise NotImplementedError

    def show_problem(self, error: DeepseekProfError) -> None:
        """Say what is wrong with the run, in place of the panes."""
        self.query_one(Problem).show(error)

    def on_mount(self) -> None:
        """Open the run beside the first drawing."""
        run_latest(self, "open", self._open)
        if self.program is not None:
            self.mount(LiveWatch(self.program))

    async def _open(self) -> None:
        try:
            self.session = await asyncio.to_thread(RunSession, self.path, self.program)
            self.selection = self.session.select(self.selection.query)
        except DeepseekProfError as error:
            self.show_problem(error)
            return
        self.run_opened()
        self.set_interval(LOOK_S, self._follow)

    async def _follow(self) -> None:
        if not self.is_running:
            return  # the app is being left: its widgets go while the timer still ticks
        if self.session is None or not self.session.in_progress or self._reopening:
            return
        pane = self.pane
        if pane is not None and pane.drawn is not pane.selection:
            return  # a slow question would never be answered
        if time.monotonic() - self._reopened_s >= max(REST_S, REST_PER_COST * self.session.refresh_cost_s):
            await self._reopen()

    async def _reopen(self) -> None:
        assert self.session is not None
        self._reopening = True
        try:
            changed = await self.session.refresh()
        except DeepseekProfError as error:
            self.show_problem(error)
            return
        finally:
            self._reopening = False
            self._reopened_s = time.monotonic()
        if changed and self.is_running:
            self.selection = self.session.select(self.selection.query)
            self.query_one(Head).show(self.session)
            self.show_selection()

    async def action_reload(self) -> None:
        """Read the run again, and show it where something was wrong with it."""
        problem = self.query_one(Problem)
        failed = problem.error is not None
        problem.clear()
        if self.session is None:
            run_latest(self, "open", self._open)
            return
        await self._reopen()
        if failed and problem.error is None:
            self.show_selection()

    async def action_quit(self) -> None:
        """Leave; while the program of ``run --live`` runs, ask what becomes of it."""
        self._ask_to_leave()

    def action_help_quit(self) -> None:
        """Ctrl-C, where no text is selected."""
        self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        if self.program is not None and self.program.running:
            self.push_screen(LeaveScreen(self.program.name), self._leave)
        else:
            self.exit(0)

    def _leave(self, how: Leaving | None) -> None:
        if how == "interrupt" and self.program is not None:
            self.program.terminal.interrupt()
        if how is not None:
            self.exit(0)

    @on(LiveWatch.Completed)
    async def _completed(self) -> None:
        if self.session is not None:
            await self._reopen()

    def on_unmount(self) -> None:
        """End the threads, and what we started."""
        self.end_children()
        if self.session is not None:
            self.session.close()
