"""The facets beside the panes: values to filter by, with their shares as bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from deepseek_prof.analysis.facets import Facets, FacetValue
from deepseek_prof.text import clean, percent
from deepseek_prof.tui.charts import bar
from deepseek_prof.tui.palette import phase_colour, type_colour
from deepseek_prof.tui.query_edit import chosen, chosen_numbers
from deepseek_prof.tui.widgets.cells import fitted

_BAR_WIDTH = 6
_SHARE_WIDTH = 6


@dataclass(frozen=True)
class _Line:
    """A heading (``value`` None), or a value of a field."""

    field: str
    text: str
    value: FacetValue | None = None
    marked: bool = False


class FacetPanel(ScrollView, can_focus=True):
    """Values by field; Space, Enter or a click puts one into the query, or takes it out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("space,enter", "choose", "Filter by it"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"facet-panel--heading", "facet-panel--cursor", "facet-panel--none"}
    DEFAULT_CSS = """
    FacetPanel { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    FacetPanel > .facet-panel--heading { color: $text-muted; text-style: bold; }
    FacetPanel:focus > .facet-panel--cursor { background: $primary 35%; text-style: bold; }
    FacetPanel > .facet-panel--none { color: $text-muted; }
    """

    @dataclass
    class Toggled(Message):
        """A value is to be asked for, or no longer."""

        field: str
        value: str

    def __init__(self) -> None:
        super().__init__(id="facets")
        self._lines: list[_Line] = []
        self._cursor = 1

    def show(self, facets: Facets, query: str) -> None:
        """Show ``facets`` of what ``query`` selects, with the values that it asks for marked."""
        lines: list[_Line] = []
        for field, title, values, marked in (
            ("type", "operator type", facets.types, chosen(query, "type")),
            ("phase", "phase", facets.phases, chosen(query, "phase")),
            ("rank", "rank", facets.ranks, chosen_numbers(query, "rank")),
            ("tid", "thread", facets.threads, chosen_numbers(query, "tid")),
        ):
            if field in ("rank", "tid") and len(values) < 2:
                continue
            lines.append(_Line(field, title))
            lines.extend(_Line(field, clean(each.value), each, each.value in marked) for each in values)
        self._lines = lines
        self._cursor = max(1, min(self._cursor, len(lines) - 1))
        self.virtual_size = Size(self.size.width, len(lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """A heading, or a value with its mark, bar and share."""
        width = self.size.width
        index = round(self.scroll_offset.y) + y
        base = self.rich_style
        if index >= len(self._lines):
            return Strip.blank(width, base)
        line = self._lines[index]
        if line.value is None:
            return Strip([Segment(fitted(line.text, width), base + self._style("heading"))])
        if index == self._cursor:
            base += self._style("cursor")
        value = line.value
        if not value.self_ns:
            base += self._style("none")
        name_width = max(4, width - 3 - _BAR_WIDTH - _SHARE_WIDTH)
        colour = Style(color=self._colour(line.field, value.value)) if value.self_ns else Style.null()
        return Strip(
            [
                Segment("■ " if line.marked else "□ ", base + colour),
                Segment(fitted(line.text, name_width), base),
                Segment(fitted(bar(value.share, _BAR_WIDTH), _BAR_WIDTH), base + colour),
                Segment(f"{percent(value.share) if value.self_ns else '–':>{_SHARE_WIDTH}} ", base),
            ]
        ).adjust_cell_length(width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"facet-panel--{name}")

    def _colour(self, field: str, value: str) -> str:
        dark = self.app.current_theme.dark
        return type_colour(value, dark=dark) if field == "type" else phase_colour(value, dark=dark)

    def action_move(self, by: int) -> None:
        """Move to the next value, over headings."""
        index = self._cursor + by
        while 0 <= index < len(self._lines) and self._lines[index].value is None:
            index += by
        if 0 <= index < len(self._lines):
            self._cursor = index
            self.scroll_to_region_of(index)
            self.refresh()

    def scroll_to_region_of(self, index: int) -> None:
        """Bring a line into sight, with its heading where it is the first."""
        top = round(self.scroll_y)
        first = index - 1 if self._lines[index - 1].value is None else index
        if first < top:
            self.scroll_to(y=first, animate=False, immediate=True)
        elif index >= top + self.size.height:
            self.scroll_to(y=index - self.size.height + 1, animate=False, immediate=True)

    def action_choose(self) -> None:
        """Put the value into the query, or take it out."""
        if self._cursor < len(self._lines):
            line = self._lines[self._cursor]
            if line.value is not None:
                self.post_message(self.Toggled(line.field, line.value.value))

    def on_click(self, event: Click) -> None:
        """As Space on the line that was clicked."""
        event.stop()
        index = round(self.scroll_offset.y) + event.y
        if index < len(self._lines) and self._lines[index].value is not None:
            self._cursor = index
            self.action_choose()

    def on_resize(self, event: Resize) -> None:
        """Lines are as wide as there is room."""
        self.virtual_size = Size(event.size.width, len(self._lines))
        self.refresh()
