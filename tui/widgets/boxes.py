"""The boxes of frames, as the icicle graph and the timeline draw them: one look for one frame."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.tui.widgets.cells import boxed


def box_style(colour: Color) -> Style:
    """Filled with ``colour``, with text that can be read on it."""
    return Style(color=colour.get_contrast_text(1.0).rich_color, bgcolor=colour.rich_color)


def draw_box(frame: Frame, label: str, width: int, style: Style) -> Segment:
    """A frame in ``width`` cells; ``label`` holds no control character.

    Of a layer in a list the end of its name is kept: its number is what tells it from its neighbours.
    """
    return Segment(boxed(label, width, keep_end=frame.kind == "layer" and label[-1:].isdecimal()), style)
