"""The timeline: threads and streams over time, nested spans below each other, gaps left open, by keyboard and mouse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.events import Click, Leave, MouseMove, MouseScrollDown, MouseScrollUp, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.text import clean
from deepseek_prof.tui.widgets.cells import message_line
from deepseek_prof.tui.widgets.timeline_drawing import Look, Window, axis_line, lane_line, track_line
from deepseek_prof.tui.widgets.timeline_layout import Chart, cells
from deepseek_prof.tui.widgets.timeline_spots import Spot, TimelineRow, row_of, rows_of, span_spot, spot_at

_LEAST_NS = 100


class TimelineChart(ScrollView, can_focus=True):
    """Draws the chart given to :meth:`show`. Posts what the pointer or the cursor is on as :class:`Pointed`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "along(-1)", "Previous span", show=False),
        Binding("right", "along(1)", "Next span", show=False),
        Binding("up", "lane(-1)", "Lane above", show=False),
        Binding("down", "lane(1)", "Lane below", show=False),
        Binding("w,plus", "zoom(0.5)", "Zoom in"),
        Binding("s,minus", "zoom(2)", "Zoom out"),
        Binding("a", "pan(-0.25)", "Pan left", show=False),
        Binding("d", "pan(0.25)", "Pan right", show=False),
        Binding("enter", "fit", "To span", tooltip="Zoom to the span"),
        Binding("home", "reset", "Whole time", show=False),
        Binding("g", "gap", "Gaps", tooltip="Longest gaps"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"timeline--cursor", "timeline--axis", "timeline--track"}
    DEFAULT_CSS = """
    TimelineChart { height: 1fr; overflow-x: hidden; }
    TimelineChart > .timeline--cursor { background: $foreground; color: $background; text-style: bold; }
    TimelineChart > .timeline--axis { color: $text-muted; background: $panel; }
    TimelineChart > .timeline--track { color: $foreground; text-style: bold; }
    """

    @dataclass
    class Pointed(Message):
        """``spot`` is under the pointer, or else under the cursor; None: nothing is."""

        chart: TimelineChart
        spot: Spot | None

    def __init__(self, colour: Callable[[Frame], Color]) -> None:
        """``colour`` gives the colour of a span's box."""
        super().__init__()
        self._colour = colour
        self._chart = Chart((), 0)
        self._rows: list[TimelineRow] = []
        self._view = (0.0, 0.0)
        self._row = -1
        self._cursor: Spot | None = None
        self._hover: Spot | None = None
        self._gap = -1
        self._message = ""

    @property
    def view(self) -> tuple[float, float]:
        """The drawn time, in nanoseconds from the chart's beginning."""
        return self._view

    @property
    def cursor(self) -> Spot | None:
        """The span or gap under the cursor; None where there is none."""
        return self._cursor

    def show(self, chart: Chart, *, keep: bool = False) -> None:
        """Draw other tracks, from their beginning to their end, or with ``keep`` the time and the row of before."""
        before = self._cursor
        self._chart = chart
        self._rows = rows_of(chart)
        self._hover, self._cursor, self._gap, self._message = None, None, -1, ""
        if not (keep and before is not None and self._row < len(self._rows)):
            self._row = next((at for at, (_, lane) in enumerate(self._rows) if lane is not None), -1)
            self._view = (0.0, float(chart.length_ns))
            before = None
        self._arrange()
        self._select(0 if before is None else before.start_ns)

    def show_message(self, text: str) -> None:
        """Draw no tracks, but why there are none."""
        self.show(Chart((), 0))
        self._message = clean(text, 1000)

    def look_at(self, start_ns: int, end_ns: int) -> None:
        """Draw the time around a span, and put the cursor on it; nothing where the chart does not reach it."""
        if end_ns <= 0 or start_ns >= self._chart.length_ns:
            return
        self._zoom_to(start_ns, end_ns)
        row = row_of(self._rows, start_ns, end_ns)
        if row is not None:
            self._row = row
            self._select(start_ns)

    def action_along(self, step: int) -> None:
        """To the span before or behind in the lane; out of a gap, to its edge."""
        if self._cursor is None:
            return
        lane = self._cursor.track.lanes[self._cursor.lane]
        if self._cursor.span is None:
            moment = self._cursor.end_ns if step > 0 else self._cursor.start_ns - 1
            self._select(moment)
            return
        span = min(max(0, self._cursor.span + step), len(lane) - 1)
        self._cursor = span_spot(self._cursor.track, self._cursor.lane, span)
        self._show_cursor()

    def action_lane(self, step: int) -> None:
        """To the next lane, over the names of threads, at the same time."""
        row = self._row + step
        while 0 <= row < len(self._rows) and self._rows[row][1] is None:
            row += step
        if 0 <= row < len(self._rows) and self._cursor is not None:
            start, end = max(self._cursor.start_ns, self._view[0]), min(self._cursor.end_ns, self._view[1])
            self._row = row
            self._select(int((start + end) / 2))

    def action_zoom(self, factor: float) -> None:
        """Nearer to the cursor, or away from it."""
        start, end = self._view
        middle = (start + end) / 2
        if self._cursor is not None:
            middle = min(max((self._cursor.start_ns + self._cursor.end_ns) / 2, start), end)
        self._zoom_around(middle, factor)

    def action_pan(self, share: float) -> None:
        """Along the time, by a share of what is drawn."""
        start, end = self._view
        shift = (end - start) * share
        self._set_view(start + shift, end + shift)

    def action_fit(self) -> None:
        """As wide as the chart: what is under the cursor, with a little around it."""
        if self._cursor is not None:
            self._zoom_to(self._cursor.start_ns, self._cursor.end_ns)

    def action_reset(self) -> None:
        """The whole time."""
        self._set_view(0.0, float(self._chart.length_ns))

    def action_gap(self) -> None:
        """To the longest gap of the thread under the cursor, then to the next longest."""
        if self._cursor is None:
            return
        track = self._cursor.track
        found = track.lanes[0].gaps()
        if found:
            self._gap = (self._gap + 1) % len(found)
            start, end = found[self._gap]
            self._row = self._rows.index((track, 0))
            self._select(start)
            self._zoom_to(start - (end - start), end + (end - start))

    def _zoom_to(self, start_ns: float, end_ns: float) -> None:
        margin = (end_ns - start_ns) * 0.05
        self._set_view(start_ns - margin, end_ns + margin)

    def _zoom_around(self, middle: float, factor: float) -> None:
        start, end = self._view
        self._set_view(middle - (middle - start) * factor, middle + (end - middle) * factor)

    def _set_view(self, start: float, end: float) -> None:
        length = min(max(end - start, _LEAST_NS), self._chart.length_ns)
        start = min(max(0.0, (start + end - length) / 2), self._chart.length_ns - length)
        self._view = (start, start + length)
        self.refresh()

    def _select(self, moment: int) -> None:
        """Put the cursor on what the current row has at a moment."""
        if not 0 <= self._row < len(self._rows):
            self._point()
            return
        track, lane = self._rows[self._row]
        self._cursor = None if lane is None else spot_at(self._chart, track, lane, moment)
        self._show_cursor()

    def _show_cursor(self) -> None:
        if self._cursor is not None:
            start, end = self._view
            length = end - start
            if self._cursor.end_ns <= start or self._cursor.start_ns >= end:
                middle = (self._cursor.start_ns + self._cursor.end_ns) / 2
                self._set_view(middle - length / 2, middle + length / 2)
            self.scroll_to_region(Region(0, self._row, 1, 2), animate=False)
        self._point()
        self.refresh()

    def _point(self) -> None:
        self.post_message(self.Pointed(self, self._hover or self._cursor))

    def _arrange(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + 1)
        self.refresh()

    def on_resize(self, event: Resize) -> None:
        """Use the new width."""
        self._arrange()

    def on_mouse_move(self, event: MouseMove) -> None:
        """Point at what is below the pointer."""
        self._set_hover(self._spot_at(event.x, event.y)[1])

    def on_leave(self, event: Leave) -> None:
        """Point at the cursor again."""
        self._set_hover(None)

    def on_click(self, event: Click) -> None:
        """Select a span; zoom to it by a double click."""
        row, spot = self._spot_at(event.x, event.y)
        if spot is None:
            return
        self._row, self._cursor = row, spot
        self._show_cursor()
        if event.chain >= 2:
            self.action_fit()

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """With Ctrl: zoom in at the pointer."""
        if event.ctrl:
            event.stop()
            event.prevent_default()
            self._zoom_around(self._window.moment(event.x), 0.5)

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """With Ctrl: zoom out at the pointer."""
        if event.ctrl:
            event.stop()
            event.prevent_default()
            self._zoom_around(self._window.moment(event.x), 2.0)

    def _set_hover(self, spot: Spot | None) -> None:
        if spot != self._hover:
            self._hover = spot
            self._point()

    @property
    def _window(self) -> Window:
        return Window(*self._view, self.size.width)

    def _spot_at(self, x: int, y: int) -> tuple[int, Spot | None]:
        row = y - 1 + self.scroll_offset.y
        if y < 1 or not 0 <= row < len(self._rows):
            return -1, None
        track, lane = self._rows[row]
        if lane is None:
            return row, None
        shown = cells(track.lanes[lane], *self._view, self.size.width).span[x]
        if shown >= 0:
            return row, span_spot(track, lane, int(shown))
        return row, spot_at(self._chart, track, lane, int(self._window.moment(x)))

    def render_line(self, y: int) -> Strip:
        """The axis, which stays in place, the name of a track, or a lane."""
        window = self._window
        if self._message:
            return Strip([Segment(message_line(self._message, y, window.width), self.rich_style)])
        if y == 0:
            return axis_line(window, self.get_component_rich_style("timeline--axis"))
        row = y - 1 + self.scroll_offset.y
        if row >= len(self._rows):
            return Strip.blank(window.width, self.rich_style)
        track, lane = self._rows[row]
        if lane is None:
            return track_line(track, window, self.get_component_rich_style("timeline--track"))
        look = Look(self.rich_style, self.get_component_rich_style("timeline--cursor"), self._colour)
        return lane_line(track, lane, window, self._cursor if row == self._row else None, look)
