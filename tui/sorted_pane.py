"""What panes of one sortable table share: the column to sort by, chosen by key or by a click on its label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from deepseek_prof.tui.data import RunSession
from deepseek_prof.tui.pane import Pane
from deepseek_prof.tui.widgets.paged_table import PagedTable, Row

T = TypeVar("T")


class SortedPane(Pane[T]):
    """A pane with one :class:`PagedTable`, sorted by the column ``self.sort``; a subclass binds a key to ``sort``."""

    def __init__(self, session: RunSession, sort: str) -> None:
        """``sort`` is the key of the column to begin with."""
        super().__init__(session)
        self.sort = sort

    @property
    def table(self) -> PagedTable:
        """The table, once it is there."""
        return self.query_one(PagedTable)

    def fill(self) -> None:
        """Give the rows, in the order of ``self.sort``, to :meth:`show_sorted`."""
        raise NotImplementedError

    def show_sorted(self, rows: Sequence[Row], *, cursor: int | None = None) -> None:
        """Put rows into the table, and mark the column that they are sorted by."""
        self.table.sorted_by = self.sort
        self.table.show_rows(rows, cursor=cursor)

    def action_sort(self) -> None:
        """Sort by the next column, or by the first where the one before has gone."""
        keys = list(dict.fromkeys(column.key for column in self.table.columns if column.key))
        self.sort = keys[(keys.index(self.sort) + 1) % len(keys)] if self.sort in keys else keys[0]
        self.fill()

    def on_paged_table_header_clicked(self, event: PagedTable.HeaderClicked) -> None:
        """Sort by that column."""
        event.stop()
        self.sort = event.key
        self.fill()
