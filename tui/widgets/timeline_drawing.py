"""Draws lines of a timeline: the axis, the name of a track, and a lane with its spans, shades and gaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.text import clean, duration, percent
from deepseek_prof.tui.frames import frame_label
from deepseek_prof.tui.widgets.boxes import box_style, draw_box
from deepseek_prof.tui.widgets.cells import fitted
from deepseek_prof.tui.widgets.timeline_layout import Track, axis_ticks, cells
from deepseek_prof.tui.widgets.timeline_spots import Spot

_SHADES = "·░▒▓"
"""How full a cell is that spans cover less than three quarters of."""
_FULL = 0.75


@dataclass(frozen=True)
class Window:
    """The drawn time, in nanoseconds from the chart's beginning, and the cells that it takes."""

    start_ns: float
    end_ns: float
    width: int

    def moment(self, x: int) -> float:
        """The middle of cell ``x``."""
        return self.start_ns + (self.end_ns - self.start_ns) * (x + 0.5) / max(1, self.width)


@dataclass(frozen=True)
class Look:
    """The styles of a chart, and ``colour``, which gives that of a frame's box."""

    plain: Style
    cursor: Style
    colour: Callable[[Frame], Color]


def axis_line(window: Window, style: Style) -> Strip:
    """Round times at their places."""
    text = ""
    for at, moment in axis_ticks(window.start_ns, window.end_ns, window.width):
        text = f"{text:{at}}╷{duration(moment)}"
    return Strip([Segment(fitted(text, window.width), style)])


def track_line(track: Track, window: Window, style: Style) -> Strip:
    """The name of a thread or stream, and how much of the drawn time it was busy."""
    text = f"{clean(track.name)} · {percent(track.busy(window.start_ns, window.end_ns))} busy"
    return Strip([Segment(fitted(text, window.width), style)])


def lane_line(track: Track, lane: int, window: Window, cursor: Spot | None, look: Look) -> Strip:
    """The spans of a lane; ``cursor`` is the place in this lane that is marked, if any."""
    shown = cells(track.lanes[lane], window.start_ns, window.end_ns, window.width)
    segments: list[Segment] = []
    width, x = len(shown.span), 0
    while x < width:
        span, begin = int(shown.span[x]), x
        full = shown.share[x] >= _FULL
        while x < width and shown.span[x] == span and (span < 0 or full == (shown.share[x] >= _FULL)):
            x += 1
        if span < 0:
            segments.append(_blank(window, begin, x, cursor, look))
        else:
            marked = cursor is not None and cursor.span == span
            shares = shown.share[begin:x].tolist()
            segments.append(_span(track, lane, span, None if full else shares, x - begin, marked, look))
    return Strip(segments)


def _blank(window: Window, begin: int, end: int, cursor: Spot | None, look: Look) -> Segment:
    """Cells without a span; marked where the cursor is in that gap."""
    marked = (
        cursor is not None
        and cursor.span is None
        and cursor.start_ns < window.moment(end - 1)
        and cursor.end_ns > window.moment(begin)
    )
    return Segment(("─" if marked else " ") * (end - begin), look.plain)


def _span(
    track: Track, lane: int, span: int, shares: list[float] | None, width: int, marked: bool, look: Look
) -> Segment:
    """Neighbouring cells of one span: its box with its name, or shades by ``shares`` where it does not fill them."""
    spans = track.lanes[lane]
    frame = track.frames[spans.frame[span]]
    colour = look.colour(frame)
    if shares is not None:
        shades = "".join(_SHADES[min(3, int(share / _FULL * 4))] for share in shares)
        return Segment(shades, look.cursor if marked else look.plain + Style(color=colour.rich_color))
    around = track.around(lane, int(spans.start_ns[span])) if frame.kind == "layer" else ()
    label = clean(frame_label(frame, around[-1] if around else None))
    return draw_box(frame, label, width, look.cursor if marked else box_style(colour))
