"""A table of any number of rows: only those on the screen are asked for, and only they are drawn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from deepseek_prof.tui.widgets.cells import fitted, fitted_middle

Cell = str | tuple[str, Style]
"""The text of a cell, clean of control characters, with a style where it has one of its own."""
Row = Sequence[Cell]
Fetch = Callable[[int, int], Awaitable[Sequence[Row]]]
"""Rows ``first`` to ``first + count`` (fewer at the end)."""

PAGE_ROWS = 100
_KEPT_PAGES = 50
_GAP = 1


@dataclass(frozen=True)
class Column:
    """``width`` 0: takes what the others leave. Where that is too little, columns go, the highest ``drop`` first."""

    label: str
    width: int = 0
    align: Literal["left", "right"] = "right"
    drop: int = 0
    key: str = ""
    """What sorting by this column is called; empty: it cannot be sorted by."""
    min_width: int = 12
    """Of a column without a width, before others are dropped for it."""


class PagedTable(ScrollView, can_focus=True):
    """Rows with a cursor. Posts :class:`Highlighted` and :class:`Chosen` with the number of a row."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home,g", "jump(0)", "First row", show=False),
        Binding("end,G", "jump(-1)", "Last row", show=False),
        Binding("enter", "choose", "Open", key_display="⏎"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "paged-table--header",
        "paged-table--cursor",
        "paged-table--sorted",
        "paged-table--waiting",
    }
    DEFAULT_CSS = """
    PagedTable { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    PagedTable > .paged-table--header { color: $text-muted; text-style: bold; }
    PagedTable > .paged-table--sorted { color: $primary; text-style: bold; }
    PagedTable > .paged-table--cursor { background: $panel; }
    PagedTable:focus > .paged-table--cursor { background: $primary 35%; text-style: bold; }
    PagedTable > .paged-table--waiting { color: $text-muted; }
    """

    @dataclass
    class Highlighted(Message):
        """The cursor stands on another row."""

        table: PagedTable
        row: int

    @dataclass
    class Chosen(Message):
        """Enter, or a click on the row that the cursor stands on."""

        table: PagedTable
        row: int

    @dataclass
    class HeaderClicked(Message):
        """A click on the label of a column that can be sorted by."""

        table: PagedTable
        key: str

    def __init__(self, columns: Sequence[Column], *, empty: str = "Nothing selected.", id: str | None = None) -> None:  # noqa: A002  # as Textual calls it
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.empty = empty
        self.sorted_by = ""
        self.cursor = 0
        self.row_count = 0
        self._fetch: Fetch | None = None
        self._pages: OrderedDict[int, Sequence[Row]] = OrderedDict()
        self._asked: set[int] = set()
        self._edition = 0

    def show_rows(self, rows: Sequence[Row], *, cursor: int | None = None) -> None:
        """Show rows that are all at hand; the cursor stays on its number unless told."""
        self._reset(len(rows), None, cursor)
        self._pages = OrderedDict(
            (page, rows[page * PAGE_ROWS : (page + 1) * PAGE_ROWS]) for page in range(-(-len(rows) // PAGE_ROWS))
        )

    def show_pages(self, row_count: int, fetch: Fetch, *, cursor: int | None = None) -> None:
        """Show rows that ``fetch`` brings as they come into sight."""
        self._reset(row_count, fetch, cursor)

    def _reset(self, row_count: int, fetch: Fetch | None, cursor: int | None) -> None:
        self._edition += 1
        self._fetch = fetch
        self._pages = OrderedDict()
        self._asked = set()
        self.row_count = row_count
        self.cursor = max(0, min(self.cursor if cursor is None else cursor, row_count - 1))
        self.virtual_size = Size(self.size.width, row_count + 1)
        self._show_cursor()
        self.refresh()

    def move_cursor(self, row: int) -> None:
        """Put the cursor on a row, and bring it into sight."""
        row = max(0, min(row, self.row_count - 1))
        if row != self.cursor and self.row_count:
            self.cursor = row
            self.post_message(self.Highlighted(self, row))
        self._show_cursor()
        self.refresh()

    def row_at(self, row: int) -> Row | None:
        """A row that has been brought; None otherwise."""
        page = self._pages.get(row // PAGE_ROWS)
        return page[row % PAGE_ROWS] if page is not None and row % PAGE_ROWS < len(page) else None

    def _show_cursor(self) -> None:
        room = max(1, self.size.height - 1)
        top = round(self.scroll_y)
        if self.cursor < top:
            top = self.cursor
        elif self.cursor >= top + room:
            top = self.cursor - room + 1
        self.scroll_to(y=max(0, top), animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        """The header, which stays, or the row that stands at ``y`` of the screen."""
        width = self.size.width
        widths = self._widths(width)
        if y == 0:
            return self._header(widths, width)
        index = round(self.scroll_offset.y) + y - 1
        if index >= self.row_count:
            muted = self.get_component_rich_style("paged-table--waiting")
            text = self.empty if self.row_count == 0 and y == 2 else ""
            return Strip([Segment(fitted(f" {text}", width), muted)])
        base = self.rich_style
        if index == self.cursor:
            base += self.get_component_rich_style("paged-table--cursor")
        row = self.row_at(index)
        if row is None:
            self._bring(index // PAGE_ROWS)
            return Strip([Segment(fitted(" …", width), base)])
        segments = []
        for number, cell_width in widths:
            cell = row[number] if number < len(row) else ""
            text, style = cell if isinstance(cell, tuple) else (cell, None)
            segments.append(
                Segment(_aligned(text, cell_width, self.columns[number].align), base + style if style else base)
            )
            segments.append(Segment(" " * _GAP, base))
        return Strip(segments).adjust_cell_length(width, base)

    def _header(self, widths: list[tuple[int, int]], width: int) -> Strip:
        plain = self.rich_style + self.get_component_rich_style("paged-table--header")
        marked = self.rich_style + self.get_component_rich_style("paged-table--sorted")
        segments = []
        for number, cell_width in widths:
            column = self.columns[number]
            chosen = bool(self.sorted_by) and column.key == self.sorted_by
            label = f"{column.label}▾" if chosen else column.label
            segments.append(Segment(_aligned(label, cell_width, column.align), marked if chosen else plain))
            segments.append(Segment(" " * _GAP, plain))
        return Strip(segments).adjust_cell_length(width, plain)

    def _widths(self, width: int) -> list[tuple[int, int]]:
        """Number and width of each column that has room."""
        kept = list(range(len(self.columns)))
        flexible = [number for number in kept if not self.columns[number].width]
        least = sum(self.columns[number].min_width for number in flexible)

        def left() -> int:
            return width - sum(self.columns[number].width for number in kept) - _GAP * len(kept)

        for number in sorted(kept, key=lambda each: -self.columns[each].drop):
            if left() >= least or not self.columns[number].drop:
                break
            kept.remove(number)
        share = max(1, left() // max(1, len(flexible)))
        return [(number, self.columns[number].width or share) for number in kept]

    def _bring(self, page: int) -> None:
        if page not in self._asked and self._fetch is not None:
            self._asked.add(page)
            self.run_worker(self._fetch_page(page, self._fetch, self._edition), group=f"page-{self._edition}")

    async def _fetch_page(self, page: int, fetch: Fetch, edition: int) -> None:
        rows = await fetch(page * PAGE_ROWS, PAGE_ROWS)
        if edition != self._edition:
            return
        self._asked.discard(page)
        self._pages[page] = rows
        while len(self._pages) > _KEPT_PAGES:
            self._pages.popitem(last=False)
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.move_cursor(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by as many rows as are seen."""
        self.move_cursor(self.cursor + by * max(1, self.size.height - 2))

    def action_jump(self, row: int) -> None:
        """Move the cursor to the first row, or to the last for -1."""
        self.move_cursor(row if row >= 0 else self.row_count - 1)

    def action_choose(self) -> None:
        """Choose the row that the cursor stands on."""
        if self.row_count:
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: Click) -> None:
        """Move the cursor, choose the row that it stands on already, or sort."""
        event.stop()
        if event.y == 0:
            key = self._key_at(event.x)
            if key:
                self.post_message(self.HeaderClicked(self, key))
            return
        row = round(self.scroll_offset.y) + event.y - 1
        if row >= self.row_count:
            return
        if row == self.cursor:
            self.action_choose()
        else:
            self.move_cursor(row)

    def _key_at(self, x: int) -> str:
        for number, cell_width in self._widths(self.size.width):
            if x < cell_width + _GAP:
                return self.columns[number].key
            x -= cell_width + _GAP
        return ""

    def on_resize(self, event: Resize) -> None:
        """Columns come and go; the cursor stays in sight."""
        self.virtual_size = Size(event.size.width, self.row_count + 1)
        self._show_cursor()
        self.refresh()


def _aligned(text: str, width: int, align: str) -> str:
    if align == "left":
        return fitted_middle(text, width)
    shown = fitted_middle(text, width)
    stripped = shown.rstrip()
    return " " * (len(shown) - len(stripped)) + stripped
