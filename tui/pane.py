"""What a pane is: reads its figures in a thread, draws them, and obeys the one selection."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from textual.containers import Vertical
from textual.message import Message

from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.tui.worker import run_latest

if TYPE_CHECKING:
    from deepseek_prof.trace.run import Run
    from deepseek_prof.tui.data import RunSession, Selection

T = TypeVar("T")
Answer = TypeVar("Answer")

REST_PER_COST = 10.0
"""While a run is recorded, what reads every span is read again when so many times its cost have passed."""


class Pane(Vertical, Generic[T]):
    """One numbered pane. A subclass composes its widgets, and writes :meth:`read` and :meth:`draw`.

    Only the pane that is seen reads; a hidden one does so when it is chosen, where the selection or the run changed.
    """

    name_of: ClassVar[str]
    """Id of the widget, and what :meth:`ProfilerApp.open_pane` takes: ``operators``."""
    title: ClassVar[str]
    """In the row of tabs: ``Operators``."""
    short_title: ClassVar[str] = ""
    """The same where there is little room: ``Ops``; empty: ``title`` is short enough."""

    @dataclass
    class Drawn(Message):
        """The pane shows ``selection``."""

        pane: Pane[Any]
        selection: Selection

    @dataclass
    class Filter(Message):
        """The user chose something here that is to become the query of all panes."""

        query: str

    @dataclass
    class Open(Message):
        """Another pane is to be seen."""

        name: str

    @dataclass
    class ShowCall(Message):
        """A span is to be seen on the timeline: its start since the Unix epoch, its length, and its step."""

        start_ns: int
        dur_ns: int
        step: int | None

    @dataclass
    class Failed(Message):
        """The run cannot be read any more."""

        error: DeepseekProfError

    def __init__(self, session: RunSession) -> None:
        super().__init__(id=self.name_of)
        self.session = session
        self.selection: Selection | None = None
        """What was last asked to be shown."""
        self.drawn: Selection | None = None
        """What is on the screen; None before the first drawing."""
        self._later_due_s = 0.0

    def read(self, run: Run, selection: Selection) -> T:
        """The figures; called in a thread. Calls functions of ``analysis`` and ``query``, and touches no widget."""
        raise NotImplementedError

    def draw(self, found: T, selection: Selection) -> None:
        """Put the figures on the screen; called in the app's thread."""
        raise NotImplementedError

    def command(self, selection: Selection) -> tuple[str, ...]:
        """The words of the command line that says the same, without the run and the query, which the app adds."""
        return ("report",)

    def nothing(self, selection: Selection, otherwise: str) -> str:
        """What stands where ``selection`` has nothing: ``otherwise``, but that the recording has only begun."""
        begun = self.session.in_progress and not selection.query
        return "Nothing has been recorded yet: this fills as the program runs." if begun else otherwise

    def show(self, selection: Selection) -> None:
        """Read and draw ``selection``; what was being read for another one is dropped."""
        if self.selection is None or selection.query != self.selection.query or not self.session.in_progress:
            self.drop_later()
        self.selection = selection
        run_latest(self, "read", self._load, selection)

    def read_later(
        self, question: Callable[[Run], Answer], show: Callable[[Answer], None], wait_s: float = 0.0
    ) -> None:
        """For :meth:`draw`: answer what reads every span in ``wait_s``, behind what the user waits for.

        While the run is recorded the answer stands for some drawings: the machine is the program's.
        """
        if time.monotonic() >= self._later_due_s:
            self._later_due_s = math.inf
            run_latest(self, "later", self._load_later, question, show, wait_s)

    def drop_later(self) -> None:
        """What was read later is not what is shown any more."""
        self.workers.cancel_group(self, "later")
        self._later_due_s = 0.0

    def refresh_data(self) -> None:
        """The run has new data, or is another: read and draw what is shown again."""
        if self.selection is not None:
            self.show(self.selection)

    def focus_first(self) -> None:
        """Give the focus to the widget that keys are for, once it is there."""

        def focus() -> None:
            target = next((each for each in self.query("*") if each.focusable and each.display), None)
            if target is not None:
                target.focus()

        self.call_after_refresh(focus)

    async def _load(self, selection: Selection) -> None:
        try:
            found = await self.session.ask(lambda run: self.read(run, selection))
        except DeepseekProfError as error:
            self.post_message(self.Failed(error))
            return
        self.draw(found, selection)
        self.drawn = selection
        self.post_message(self.Drawn(self, selection))

    async def _load_later(
        self, question: Callable[[Run], Answer], show: Callable[[Answer], None], wait_s: float
    ) -> None:
        await asyncio.sleep(wait_s)
        began_s = time.monotonic()
        try:
            found = await self.session.ask(question, later=True)
        except DeepseekProfError as error:
            self._later_due_s = 0.0
            self.post_message(self.Failed(error))
            return
        now_s = time.monotonic()
        self._later_due_s = now_s + REST_PER_COST * (now_s - began_s)
        show(found)
