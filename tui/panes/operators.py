"""Operators: where the time goes by operator, sortable, with what lies behind each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from deepseek_prof.analysis.operator_calls import TREND_BINS, Spread, operator_spreads
from deepseek_prof.analysis.results import TopRow, TopTable
from deepseek_prof.analysis.top import top
from deepseek_prof.text import clean, count, duration, percent
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.charts import sparkline
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.palette import type_colour
from deepseek_prof.tui.query_edit import with_values
from deepseek_prof.tui.screens.operator import OperatorScreen, ToCall, ToLayer
from deepseek_prof.tui.sorted_pane import SortedPane
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable, Row

_COLUMNS = (
    Column("operator", align="left", key="name", min_width=24),
    Column("type", 11, "left", drop=2, key="type"),
    Column("self", 9, key="self"),
    Column("share", 6),
    Column("total", 9, drop=1, key="total"),
    Column("count", 10, drop=3, key="count"),
    Column("mean", 9, drop=4, key="mean"),
    Column("p99", 9, drop=5, key="p99"),
    Column("trend", TREND_BINS, "left", drop=6),
)
_KEYS: dict[str, Callable[[TopRow], Any]] = {
    "self": lambda row: -row.self_ns,
    "total": lambda row: -row.total_ns,
    "count": lambda row: -row.count,
    "mean": lambda row: -row.self_ns / (row.count or 1),
    "name": lambda row: row.name,
    "type": lambda row: row.type,
}
_LATER_S = 0.2


class Operators(SortedPane[TopTable]):
    """A table of ``top --by op``; the 99th percentile of the calls' self time and the trend come a moment later."""

    name_of = "operators"
    title = "Operators"
    short_title = "Ops"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "sort", "Sort")]

    def __init__(self, session: RunSession) -> None:
        super().__init__(session, "self")
        self._rows: tuple[TopRow, ...] = ()
        self.spreads: dict[str, Spread] = {}
        """By operator; empty until they have been read. While the run is recorded, as of a moment ago."""

    def compose(self) -> ComposeResult:
        """The table."""
        yield PagedTable(_COLUMNS)

    def drop_later(self) -> None:
        """The spreads go, too."""
        super().drop_later()
        self.spreads = {}

    def read(self, run: Run, selection: Selection) -> TopTable:
        """All operators."""
        return top(run, "op", selection.condition, limit=None)

    def draw(self, found: TopTable, selection: Selection) -> None:
        """Sorted as chosen."""
        self._rows = found.rows
        self.table.empty = self.nothing(selection, "Nothing selected.")
        self.fill()
        # Reading every span for what few wait for would slow a filter that is still being typed.
        self.read_later(lambda run: operator_spreads(run, selection.condition), self._show_spreads, _LATER_S)

    def _show_spreads(self, found: dict[str, Spread]) -> None:
        self.spreads = found
        self.fill()

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``top``, sorted alike where it can be."""
        sort = self.sort if self.sort in ("self", "total", "count") else "self"
        return ("top", "--by", "op", "--sort", sort)

    def fill(self) -> None:
        """All operators."""
        key = self._p99 if self.sort == "p99" else _KEYS[self.sort]
        self._rows = tuple(sorted(self._rows, key=lambda row: (key(row), row.name)))
        self.show_sorted([self._cells(row) for row in self._rows])

    def _p99(self, row: TopRow) -> int:
        spread = self.spreads.get(row.name)
        return -spread.p99_ns if spread else 0

    def _cells(self, row: TopRow) -> Row:
        spread = self.spreads.get(row.name)
        colour = Style(color=type_colour(row.type, dark=self.app.current_theme.dark))
        return (
            (clean(row.name), colour),
            row.type,
            duration(row.self_ns),
            percent(row.share),
            duration(row.total_ns),
            count(row.count),
            duration(row.self_ns / (row.count or 1)),
            duration(spread.p99_ns) if spread else "…",
            sparkline(spread.trend, TREND_BINS, floor=0.0) if spread else "",
        )

    def on_paged_table_chosen(self, event: PagedTable.Chosen) -> None:
        """Open the operator."""
        event.stop()
        if self.selection is not None and event.row < len(self._rows):
            self.open_operator(self._rows[event.row].name)

    def open_operator(self, name: str) -> None:
        """The layers that call an operator, its shapes, its slowest calls."""
        if self.selection is not None:
            self.app.push_screen(OperatorScreen(self.session, self.selection, name), self._leave)

    def _leave(self, to: ToLayer | ToCall | None) -> None:
        if isinstance(to, ToCall):
            self.post_message(self.ShowCall(to.call.start_ns, to.call.dur_ns, to.call.step))
        elif isinstance(to, ToLayer) and self.selection is not None:
            query = with_values(self.selection.query, "op", [to.operator])
            self.post_message(self.Filter(with_values(query, "layer", [to.layer])))
