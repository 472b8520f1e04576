"""The app: one selection, one filter bar, numbered panes that all obey it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Input, Static

from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.query import known_values
from deepseek_prof.text import clean
from deepseek_prof.tui.commands import commands
from deepseek_prof.tui.facet_panel import FacetPanel
from deepseek_prof.tui.filter_bar import FilterBar
from deepseek_prof.tui.head import Head, Problem
from deepseek_prof.tui.history import History
from deepseek_prof.tui.outward import OutwardApp
from deepseek_prof.tui.palette import DARK, LIGHT, THEMES
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.panes.output import Output
from deepseek_prof.tui.panes.timeline import Timeline
from deepseek_prof.tui.run_app import RunApp
from deepseek_prof.tui.screens.help import HelpScreen, sections
from deepseek_prof.tui.side_bar import SideBar
from deepseek_prof.tui.widgets.tab_bar import TabBar

if TYPE_CHECKING:
    from deepseek_prof.recording.live_program import LiveProgram

_LEAST = (60, 16)
_STYLES = sorted((Path(__file__).parent / "styles").glob("*.tcss"))


class ProfilerApp(RunApp):
    """The run in the terminal. Its result is an exit status."""

    TITLE = "deepseek-prof"
    CSS_PATH = _STYLES  # type: ignore[assignment]  # Textual takes a list of paths as well
    ENABLE_COMMAND_PALETTE = True
    AUTO_FOCUS = "ModalScreen *"  # else keys pressed before the run is open would go to the filter
    BINDINGS: ClassVar[list[BindingType]] = [
        # First of all: keys that come in one burst, as over a slow line, are sent on by the focus of that moment.
        Binding("slash", "filter", "Filter", key_display="/", priority=True),
        Binding("question_mark", "help", "Help", key_display="?"),
        *(Binding(str(number), f"pane({number})", f"Pane {number}", show=False) for number in range(1, 10)),
        Binding("x", "clear_filter", "Clear filter", show=False),
        Binding("u", "undo_filter", "Filter before", show=False),
        Binding("b", "side_bar", "Facets"),
        Binding("escape", "to_pane", "Back to the pane", show=False),
        Binding("t", "toggle_theme", "Dark or light", show=False),
        Binding("r", "reload", "Read again", show=False),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(
        self,
        path: Path,
        query: str = "",
        *,
        formats: Callable[[], Mapping[str, tuple[str, str]]] = dict,
        history: Path | None = None,
        program: LiveProgram | None = None,
    ) -> None:
        """``formats`` gives those of ``deepseek-prof export``, with what reads each and the suffix of its files;
        ``history`` is the file of queries, ``program`` the one that we record."""
        super().__init__(path, query, program)
        self.formats = formats
        self._earlier: list[str] = []
        self.history = History(history)
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = DARK

    def compose(self) -> ComposeResult:
        """The head at once; panes once the run is open."""
        yield Head(self.path)
        yield FilterBar(self._check, self.history)
        yield TabBar({pane.name_of: (pane.title, pane.short_title or pane.title) for pane in PANES})
        with Horizontal(id="body"):
            yield SideBar()
            yield ContentSwitcher(id="panes")
            yield Problem()
        yield Static(
            f"This needs {_LEAST[0]} columns and {_LEAST[1]} lines at least: make the window larger.", id="small"
        )
        yield Footer(show_command_palette=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers."""
        yield from commands(self, [*ProfilerApp.BINDINGS, *OutwardApp.BINDINGS])

    def run_opened(self) -> None:
        """Fill the head and the filter bar, and open the first pane."""
        assert self.session is not None
        self.query_one(FilterBar).set_query(self.selection.query)
        for notice in (*self.session.notices, *([self.history.problem] if self.history.problem else [])):
            self.notify(clean(notice, 400), markup=False)
        self.query_one(Head).show(self.session)
        self.open_pane(PANES[0].name_of if self.program is None else Output.name_of)
        self.run_worker(self._learn(), group="learn")

    async def _learn(self) -> None:
        """What may be typed into the filter bar, for completion."""
        assert self.session is not None
        try:
            self.query_one(FilterBar).know(await self.session.ask(known_values, later=True))
        except DeepseekProfError as error:
            self.show_problem(error)

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
        first = found is None
        if found is None:
            kind = next(each for each in PANES if each.name_of == name)
            found = kind(self.session)
            switcher.mount(found)
        assert isinstance(found, Pane)
        switcher.current = name
        self.query_one(TabBar).chosen = name
        if not (first and self.query_one(FilterBar).input.has_focus):  # somebody types while the run opens
            found.focus_first()
        if found.selection is not self.selection:
            found.show(self.selection)
        return found

    def set_query(self, query: str) -> None:
        """Make ``query``, which parses, that of all panes, and show it in the filter bar."""
        if self.session is None:
            return
        self.query_one(FilterBar).set_query(query)
        self._select(query)

    def _select(self, query: str) -> None:
        assert self.session is not None
        if query != self.selection.query:
            self._earlier.append(self.selection.query)
        self.selection = self.session.select(query)
        self.show_selection()

    def show_selection(self) -> None:
        """Have the pane that is seen show the selection, in place of what was wrong."""
        self.query_one(Problem).clear()
        if self.pane is not None:
            self.pane.show(self.selection)

    @on(FilterBar.Queried)
    def _queried(self, event: FilterBar.Queried) -> None:
        """The bar is left as it is: more may have been typed by now."""
        if self.session is not None:
            self._select(event.query)

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

    @on(Pane.Drawn)
    def _drawn(self, event: Pane.Drawn) -> None:
        """The facets come after the pane: both at once would make the pane come later."""
        if self.session is not None and event.selection is self.selection:
            self.query_one(SideBar).show(self.session, self.selection)

    @on(SideBar.Filter)
    def _faceted(self, event: SideBar.Filter) -> None:
        self.set_query(event.query)

    @on(SideBar.Counted)
    def _counted(self, event: SideBar.Counted) -> None:
        self.query_one(FilterBar).show_count(event.spans, event.events)

    @on(Pane.Open)
    def _open_other(self, event: Pane.Open) -> None:
        self.open_pane(event.name)

    @on(Pane.ShowCall)
    def _show_call(self, event: Pane.ShowCall) -> None:
        timeline = self.open_pane(Timeline.name_of)
        if isinstance(timeline, Timeline):
            timeline.show_call(event.start_ns, event.dur_ns, event.step)

    @on(Pane.Failed)
    @on(SideBar.Failed)
    def _failed(self, event: Pane.Failed | SideBar.Failed) -> None:
        self.show_problem(event.error)

    def on_resize(self, event: Resize) -> None:
        """The side bar comes where there is room; a window too small says so."""
        small = event.size.width < _LEAST[0] or event.size.height < _LEAST[1]
        self.screen_stack[0].set_class(small, "small")
        self.query_one(SideBar).fit(event.size.width)

    def action_filter(self) -> None:
        """Type into the filter bar; at once, since the next key may be here already."""
        self.screen.set_focus(self.query_one(FilterBar).input)

    def action_to_pane(self) -> None:
        """Give the keys back to the pane."""
        if self.pane is not None:
            self.pane.focus_first()

    def action_side_bar(self) -> None:
        """Show the facets and layers beside the panes, and go there; or hide them."""
        if self.query_one(SideBar).toggle():
            self.query_one(FacetPanel).focus()
        else:
            self.action_to_pane()

    def action_undo_filter(self) -> None:
        """The query before this one."""
        if self._earlier:
            earlier = self._earlier.pop()
            self.set_query(earlier)
            self._earlier.pop()

    def action_help(self) -> None:
        """All keys of what is seen."""
        self.push_screen(HelpScreen(sections(self.pane)))

    def action_clear_filter(self) -> None:
        """Show everything."""
        self.set_query("")

    def action_pane(self, number: int) -> None:
        """Open the pane of a number key."""
        if number <= len(PANES):
            self.open_pane(PANES[number - 1].name_of)

    def watch_theme(self) -> None:
        """Colours of what is drawn already belong to the theme before."""
        if self.session is not None:
            self.selection = self.session.select(self.selection.query)
            self.show_selection()

    def action_toggle_theme(self) -> None:
        """Dark or light."""
        self.theme = LIGHT if self.theme == DARK else DARK

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While keys go to the program, none of them is ours; and a slash may be part of what is typed."""
        if action == "filter" and (isinstance(self.focused, Input) or len(self.screen_stack) > 1):
            return False
        if self.program is None or self.session is None:
            return True
        pane = self.pane
        return not (isinstance(pane, Output) and pane.typing)
