"""The app: one selection, one filter bar, numbered panes that all obey it.

To add a pane, write one file in ``tui/panes/``:

1. Subclass :class:`deepseek_prof.tui.pane.Pane`; set ``name_of`` (``"flame"``) and ``title`` (``"Flame"``).
2. ``compose`` yields its widgets, as in any Textual widget.
3. ``read(run, selection)`` runs in a thread and returns the figures: it calls functions of ``analysis`` with
   ``selection.condition`` (for spans; None is everything) or ``selection.events`` (for log records), and touches no
   widget. It is interrupted when the selection changes, so it needs no care for stale answers.
4. ``draw(found, selection)`` runs in the app's thread and puts the figures into the widgets.
5. ``command(selection)`` gives the command line that says the same; ``y`` copies it.
6. Name the class in ``PANES`` of ``tui/panes/__init__.py``: its place there is its number key.

A pane asks for more with ``await self.session.ask(question)`` in a worker; with ``later=True`` where nobody waits. It
changes the filter with ``self.post_message(self.Filter(query))``, and leads to another pane with
``self.app.open_pane("timeline")``. Bindings of the pane appear in the footer, in the help (``?``) and must stand in the
table of docs/tui.md. Styles go to ``tui/styles/<pane>.tcss`` or the class's ``DEFAULT_CSS``. Names from programs are
data: ``deepseek_prof.text.clean`` and ``rich.text.Text``, never markup. ``type_colour`` of ``tui/palette.py`` has the
colour of an operator type. A pane that another one leads to with more than a query has a method of its own, as
``show_call`` of the timeline; :meth:`ProfilerApp.open_pane` returns the pane for that.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import ContentSwitcher, Footer, Static

from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.text import clean
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.filter_bar import FilterBar
from deepseek_prof.tui.history import History
from deepseek_prof.tui.palette import DARK, LIGHT, THEMES
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.widgets.tab_bar import TabBar

_STYLES = sorted((Path(__file__).parent / "styles").glob("*.tcss"))
REFRESH_S = 1.0
"""How old what is shown of a run in progress may become."""


class ProfilerApp(App[int]):
    """The run in the terminal. Its result is an exit status."""

    TITLE = "deepseek-prof"
    CSS_PATH = _STYLES  # type: ignore[assignment]  # Textual takes a list of paths as well
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        *(Binding(str(number), f"pane({number})", f"Pane {number}", show=False) for number in range(1, 10)),
        Binding("x", "clear_filter", "Clear filter", show=False),
        Binding("t", "toggle_theme", "Dark or light", show=False),
        Binding("r", "reload", "Read again", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, path: Path, query: str = "", *, history: Path | None = None) -> None:
        super().__init__()
        self.path = path
        self.session: RunSession | None = None
        self.selection = Selection(query)
        self.history = History(history)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    def compose(self) -> ComposeResult:
        """The head at once; panes once the run is open."""
        yield Static(Text(f"opening {clean(self.path.name)} …"), id="head")
        yield FilterBar(self._check, self.history)
        yield TabBar({pane.name_of: pane.title for pane in PANES})
        with Horizontal(id="body"):
            yield ContentSwitcher(id="panes")
        yield Footer()

    def on_mount(self) -> None:
        """Open the run beside the first drawing."""
        self.run_worker(self._open(), exclusive=True, group="open")

    async def _open(self) -> None:
        try:
            self.session = await asyncio.to_thread(RunSession, self.path)
            self.selection = self.session.select(self.selection.query)
        except DeepseekProfError as error:
            self.show_problem(error)
            return
        self.query_one(FilterBar).set_query(self.selection.query)
        self._draw_head()
        self.open_pane(PANES[0].name_of)
        self.set_interval(REFRESH_S, self._follow)

    def _check(self, query: str) -> None:
        if self.session is not None:
            self.session.select(query)

    @property
    def pane(self) -> Pane[Any] | None:
        """The pane that is seen."""
        current = self.query_one("#panes", ContentSwitcher).current
        return None if current is None else self.query_one(f"#{current}", Pane)

    def open_pane(self, name: str) -> Pane[Any] | None:
        """Bring a pane to the front, and have it show the selection; None before the run is open."""
        if self.session is None:
            return None
        switcher = self.query_one("#panes", ContentSwitcher)
        found = next((each for each in switcher.children if each.id == name), None)
        if found is None:
            kind = next(each for each in PANES if each.name_of == name)
            found = kind(self.session)
            switcher.mount(found)
        assert isinstance(found, Pane)
        switcher.current = name
        self.query_one(TabBar).chosen = name
        found.focus_first()
        if found.selection is not self.selection:
            found.show(self.selection)
        return found

    def set_query(self, query: str) -> None:
        """Make ``query``, which parses, that of all panes."""
        if self.session is None:
            return
        bar = self.query_one(FilterBar)
        self.selection = self.session.select(query)
        if bar.input.value != query:
            bar.set_query(query)
        if self.pane is not None:
            self.pane.show(self.selection)

    def show_problem(self, error: DeepseekProfError) -> None:
        """Say what is wrong with the run, in place of the panes."""
        self.query_one("#head", Static).update(Text(clean(str(error), 400)))

    def _draw_head(self) -> None:
        assert self.session is not None
        self.query_one("#head", Static).update(Text(clean(self.session.name)))

    async def _follow(self) -> None:
        if self.session is None or not self.session.in_progress:
            return
        await self._reopen()

    async def _reopen(self) -> None:
        assert self.session is not None
        try:
            changed = await self.session.refresh()
        except DeepseekProfError as error:
            self.show_problem(error)
            return
        if changed:
            self.set_query(self.selection.query)

    @on(FilterBar.Queried)
    def _queried(self, event: FilterBar.Queried) -> None:
        self.set_query(event.query)

    @on(FilterBar.Left)
    def _left(self) -> None:
        if self.pane is not None:
            self.pane.focus_first()

    @on(TabBar.Picked)
    def _picked(self, event: TabBar.Picked) -> None:
        self.open_pane(event.name)

    @on(Pane.Filter)
    def _filtered(self, event: Pane.Filter) -> None:
        self.set_query(event.query)

    @on(Pane.Failed)
    def _failed(self, event: Pane.Failed) -> None:
        self.show_problem(event.error)

    def action_filter(self) -> None:
        """Type into the filter bar."""
        self.query_one(FilterBar).input.focus()

    def action_clear_filter(self) -> None:
        """Show everything."""
        self.set_query("")

    def action_pane(self, number: int) -> None:
        """Open the pane of a number key."""
        if number <= len(PANES):
            self.open_pane(PANES[number - 1].name_of)

    def action_toggle_theme(self) -> None:
        """Dark or light."""
        self.theme = LIGHT if self.theme == DARK else DARK

    async def action_reload(self) -> None:
        """Read the run again."""
        if self.session is not None:
            await self._reopen()

    async def action_quit(self) -> None:
        """Leave."""
        self.exit(0)

    def on_unmount(self) -> None:
        """End the threads."""
        if self.session is not None:
            self.session.close()
