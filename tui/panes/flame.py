"""The pane Flame: what was selected as an icicle graph, by layer, operator, Python stack, kernel or bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from deepseek_prof.analysis.flame import VIEWS, Profile, profiles
from deepseek_prof.errors import UsageError
from deepseek_prof.query import quoted, to_text
from deepseek_prof.query.globs import Glob
from deepseek_prof.query.tree import TextMatch
from deepseek_prof.text import clean, counted, duration, percent, size
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.frames import frame_colour
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.widgets.choices import Choices
from deepseek_prof.tui.widgets.icicle import Icicle
from deepseek_prof.tui.widgets.icicle_layout import Block, BlockPath, blocks


@dataclass(frozen=True)
class Graphs:
    """The graphs of one view; where it has none, ``problem`` says why."""

    profiles: tuple[tuple[Profile, Block], ...]
    problem: str = ""


class Flame(Pane[Graphs]):
    """The icicle graph, the choice of its view above it, and what is pointed at below it."""

    name_of = "flame"
    title = "Flame"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view(1)", "View", tooltip="Next view"),
        Binding("V", "view(-1)", "Previous view", show=False),
        Binding("p", "profile", "Host or accelerator", show=False),
        Binding("s", "search", "Find", tooltip="Search"),
        Binding("o", "only", "Only this"),
        Binding("escape", "leave_search", "End the search", show=False),
    ]
    DEFAULT_CSS = """
    Flame #search { display: none; height: 1; border: none; padding: 0; }
    Flame #search.open { display: block; }
    Flame #detail { height: 2; background: $panel; }
    """

    def compose(self) -> ComposeResult:
        """Views, graph, search, details."""
        yield Choices("View", VIEWS)
        yield Icicle(lambda frame: frame_colour(frame, dark=self.app.current_theme.dark))
        yield Input(placeholder="part of a name; Enter and Escape lead back to the graph", id="search")
        yield Static(id="detail")

    def __init__(self, session: RunSession) -> None:
        super().__init__(session)
        self.view = VIEWS[0]
        """The chosen view: one of :data:`VIEWS`."""
        self._graphs = Graphs(())
        self._shown = 0
        self._found = ""

    def read(self, run: Run, selection: Selection) -> Graphs:
        """The graphs of the chosen view."""
        try:
            found = profiles(run, self.view, selection.condition, selection.samples)
        except UsageError as error:
            return Graphs((), str(error))
        return Graphs(tuple((each, blocks(each)) for each in found))

    def draw(self, found: Graphs, selection: Selection) -> None:
        """Show the graph that was shown before, as far as there is one."""
        self._graphs = found
        self._shown = min(self._shown, max(0, len(found.profiles) - 1))
        self._draw_graph()

    def _draw_graph(self) -> None:
        choices = self.query_one(Choices)
        if not self._graphs.profiles:
            choices.note = ""
            self.query_one(Icicle).show_message(self._graphs.problem)
            self.query_one("#detail", Static).update("")
            return
        profile, root = self._graphs.profiles[self._shown]
        other = " · p: the other" if len(self._graphs.profiles) > 1 else ""
        choices.note = f"{profile.name}, {self._amount(profile.total)}{other}"
        self.query_one(Icicle).show(root)

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``deepseek-prof flame`` opens the same graph in the browser."""
        return ("flame", "--view", self.view)

    def action_view(self, step: int) -> None:
        """Another view."""
        self.query_one(Choices).next(step)

    def action_profile(self) -> None:
        """The view's other graph, where it has two."""
        if self._graphs.profiles:
            self._shown = (self._shown + 1) % len(self._graphs.profiles)
            self._draw_graph()

    def action_search(self) -> None:
        """Open the line to search in."""
        field = self.query_one("#search", Input)
        field.add_class("open")
        field.focus()

    def action_leave_search(self) -> None:
        """Close the line to search in, and forget what was searched."""
        field = self.query_one("#search", Input)
        field.value = ""
        field.remove_class("open")
        self.query_one(Icicle).focus()

    def action_only(self) -> None:
        """Make what the cursor is on the query of all panes."""
        clauses = [each for each in map(clause, reversed(self.query_one(Icicle).cursor)) if each]
        if clauses and self.selection is not None:
            phase = [each for each in clauses[1:] if each.startswith("phase:")]
            self.post_message(self.Filter(" ".join((*phase, clauses[0]))))

    @on(Choices.Picked)
    def _changed(self, event: Choices.Picked) -> None:
        event.stop()
        self.view = event.label
        self._shown = 0
        self.refresh_data()

    @on(Input.Changed, "#search")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one(Icicle).search(event.value)

    @on(Input.Submitted, "#search")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(Icicle).focus()

    @on(Icicle.Searched)
    def _searched(self, event: Icicle.Searched) -> None:
        event.stop()
        self._found = ""
        if event.text and event.icicle.cursor:
            share = percent(event.covered / (event.icicle.cursor[0].value or 1))
            self._found = f"{event.found:,} found ({share}; n, N) · " if event.found else "nothing found · "

    @on(Icicle.Pointed)
    def _pointed(self, event: Icicle.Pointed) -> None:
        event.stop()
        detail = Text("\n", no_wrap=True, overflow="ellipsis").join(self._told(event.path))
        self.query_one("#detail", Static).update(detail)

    def _told(self, path: BlockPath) -> Iterator[Text]:
        block, whole = path[-1], path[0].value or 1
        above = path[-2].value if len(path) > 1 else whole
        kind = f" ({block.frame.type or block.frame.kind})" if block.frame.kind else ""
        yield Text(f"{clean(block.frame.name)}{kind}", style="bold", no_wrap=True, overflow="ellipsis")
        parts = [self._amount(block.value), f"{percent(block.value / whole)} of all"]
        parts += [f"{percent(block.value / (above or 1))} of what is above"] if len(path) > 2 else []
        parts += [f"own {self._amount(block.own)}"] if block.children else []
        parts += [counted(block.count, "sample" if self.view == "python" else "span")] if block.count else []
        yield Text(self._found + " · ".join(parts), no_wrap=True, overflow="ellipsis")

    def _amount(self, value: float) -> str:
        profile, _ = self._graphs.profiles[self._shown]
        return size(value) if profile.unit == "bytes" else duration(value)


def clause(block: Block) -> str:
    """The clause that selects the spans of a block's frame: a layer with its sub-layers; empty where none can."""
    frame = block.frame
    if frame.kind == "layer":
        return layer_clause(frame.name, {each.frame.name for each in block.children if each.frame.kind == "layer"})
    if frame.kind in ("phase", "type"):
        return f"{frame.kind}:{quoted(frame.name)}"
    return "" if frame.kind in ("", "python") else f"op:{quoted(frame.name)}"


def layer_clause(name: str, below: Iterable[str]) -> str:
    """The clause for a layer and its sub-layers ``below``: those of a root do not begin with the root's name."""
    tops = sorted({each.partition(".")[0] for each in below if not each.startswith(f"{name}.")})
    globs = [
        glob for each in (name, *tops) for glob in (Glob.literal(each), Glob.parse(f"{Glob.literal(each + '.')}*"))
    ]
    return to_text(TextMatch("layer", tuple(globs)))
