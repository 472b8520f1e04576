"""The pane Python: functions by sampled time, and the stacks in which the one under the cursor stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import Static

from deepseek_prof.analysis.flame import profiles
from deepseek_prof.analysis.results import TopRow
from deepseek_prof.errors import UsageError
from deepseek_prof.text import clean, count, duration, percent
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.frames import frame_colour
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.widgets.icicle import Icicle
from deepseek_prof.tui.widgets.icicle_layout import Block, BlockPath, blocks
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable, Row

_COLUMNS = (
    Column("function", align="left", min_width=24),
    Column("self", 9),
    Column("share", 7, drop=1),
    Column("total", 9),
    Column("samples", 9, drop=3),
    Column("mostly in layer", 24, "left", drop=2),
)


@dataclass(frozen=True)
class Sampled:
    """Functions and stacks; where there are none, ``problem`` says why."""

    functions: tuple[TopRow, ...] = ()
    stacks: Block | None = None
    problem: str = ""


class Python(Pane[Sampled]):
    """A table of functions above the graph of their stacks."""

    name_of = "python"
    title = "Python"
    DEFAULT_CSS = """
    Python PagedTable { height: 2fr; }
    Python Icicle { height: 3fr; }
    Python #detail { height: 2; background: $panel; }
    Python.empty PagedTable, Python.empty #detail { display: none; }
    """

    _found = Sampled()

    def compose(self) -> ComposeResult:
        """Table, graph, details."""
        yield PagedTable(_COLUMNS)
        yield Icicle(lambda frame: frame_colour(frame, dark=self.app.current_theme.dark))
        yield Static(id="detail")

    def read(self, run: Run, selection: Selection) -> Sampled:
        """Functions and stacks of the selected samples."""
        from deepseek_prof.analysis.python_functions import python_functions

        try:
            functions = python_functions(run, selection.samples, "self", None)
            stacks = profiles(run, "python", None, selection.samples)
        except UsageError as error:
            return Sampled(problem=str(error))
        return Sampled(functions.rows, blocks(stacks[0]))

    def draw(self, found: Sampled, selection: Selection) -> None:
        """Table and graph, or what is missing."""
        self._found = found
        self.set_class(found.stacks is None, "empty")
        table = self.query_one(PagedTable)
        if found.stacks is None:
            self.query_one(Icicle).show_message(found.problem)
            if table.has_focus:
                self.query_one(Icicle).focus()
            return
        table.show_rows([_cells(row) for row in found.functions])
        self.query_one(Icicle).show(found.stacks)
        self._mark(table.cursor)

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``top --by python``."""
        return ("top", "--by", "python")

    @on(PagedTable.Highlighted)
    def _highlighted(self, event: PagedTable.Highlighted) -> None:
        event.stop()
        self._mark(event.row)

    @on(PagedTable.Chosen)
    def _chosen(self, event: PagedTable.Chosen) -> None:
        event.stop()
        self._mark(event.row)
        self.query_one(Icicle).focus()

    @on(Icicle.Searched)
    def _searched(self, event: Icicle.Searched) -> None:
        event.stop()

    @on(Icicle.Pointed)
    def _pointed(self, event: Icicle.Pointed) -> None:
        event.stop()
        told = Text("\n").join(_told(event.path))
        self.query_one("#detail", Static).update(told)

    def _mark(self, row: int) -> None:
        """Leave bright what the function is in; its frames have a line, which the table adds up over."""
        if row < len(self._found.functions):
            self.query_one(Icicle).search(f"{self._found.functions[row].name.removesuffix(')')}:")


def _cells(row: TopRow) -> Row:
    figures = (duration(row.self_ns), percent(row.share), duration(row.total_ns), count(row.count))
    return (clean(row.name), *figures, clean(row.layer))


def _told(path: BlockPath) -> Iterator[Text]:
    """What a block of the graph is, and how much of the time."""
    block, whole = path[-1], path[0].value or 1
    yield Text(clean(block.frame.name), style="bold", no_wrap=True, overflow="ellipsis")
    parts = (
        f"{duration(block.value)} sampled",
        f"{percent(block.value / whole)} of all",
        f"own {duration(block.own)}",
    )
    yield Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")
