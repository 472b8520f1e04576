"""Operators: where the time goes by operator, sortable, with what lies behind each."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from deepseek_prof.analysis.results import TopRow, TopTable
from deepseek_prof.analysis.top import top
from deepseek_prof.text import clean, count, duration, percent
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.palette import type_colour
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable, Row

_COLUMNS = (
    Column("operator", align="left", key="name", min_width=24),
    Column("type", 12, "left", drop=1, key="type"),
    Column("self", 9, key="self"),
    Column("share", 7, key="share"),
    Column("total", 9, key="total"),
    Column("count", 11, drop=3, key="count"),
    Column("mean", 9, drop=4, key="mean"),
)
_KEYS = {
    "self": lambda row: -row.self_ns,
    "share": lambda row: -row.self_ns,
    "total": lambda row: -row.total_ns,
    "count": lambda row: -row.count,
    "mean": lambda row: -row.self_ns / (row.count or 1),
    "name": lambda row: row.name,
    "type": lambda row: row.type,
}


class Operators(Pane[TopTable]):
    """A table of ``top --by op``."""

    name_of = "operators"
    title = "Operators"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "sort", "Sort")]

    _sort = "self"
    _rows: tuple[TopRow, ...] = ()

    def compose(self) -> ComposeResult:
        """The table."""
        yield PagedTable(_COLUMNS)

    def read(self, run: Run, selection: Selection) -> TopTable:
        """All operators."""
        return top(run, "op", selection.condition, limit=None)

    def draw(self, found: TopTable, selection: Selection) -> None:
        """Sorted as chosen."""
        self._rows = found.rows
        self._fill()

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``top``, sorted alike where it can be."""
        sort = self._sort if self._sort in ("self", "total", "count") else "self"
        return ("top", "--by", "op", "--sort", sort)

    def _fill(self) -> None:
        table = self.query_one(PagedTable)
        table.sorted_by = self._sort
        self._rows = tuple(sorted(self._rows, key=_KEYS[self._sort]))
        table.show_rows([self._cells(row) for row in self._rows])

    def _cells(self, row: TopRow) -> Row:
        colour = Style(color=type_colour(row.type, dark=self.app.current_theme.dark))
        return (
            (clean(row.name), colour),
            row.type,
            duration(row.self_ns),
            percent(row.share),
            duration(row.total_ns),
            count(row.count),
            duration(row.self_ns / (row.count or 1)),
        )

    def action_sort(self) -> None:
        """Sort by the next column."""
        keys = [column.key for column in _COLUMNS if column.key not in ("name", "type")]
        self._sort = keys[(keys.index(self._sort) + 1) % len(keys)] if self._sort in keys else keys[0]
        self._fill()

    def on_paged_table_header_clicked(self, event: PagedTable.HeaderClicked) -> None:
        """Sort by that column."""
        self._sort = event.key
        self._fill()
