"""How a frame of a flame graph or a timeline looks: its colour, and its name where there is little room."""

from __future__ import annotations

from functools import lru_cache

from textual.color import Color

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.tui.palette import phase_colour, type_colour

_FRAMES = {"layer": ("#3d4a57", "#c3ccd6"), "python": ("#5c5140", "#d8ccb4")}
"""Quiet ones, dark and light, for what stands around operators."""


@lru_cache(maxsize=4096)
def frame_colour(frame: Frame, *, dark: bool) -> Color:
    """That of the phase or of the operator type; for layers and Python functions a quiet one."""
    if frame.kind == "phase":
        return Color.parse(phase_colour(frame.name, dark=dark))
    if frame.kind in _FRAMES:
        return Color.parse(_FRAMES[frame.kind][0 if dark else 1])
    return Color.parse(type_colour(frame.type, dark=dark))


def frame_label(frame: Frame, above: Frame | None = None) -> str:
    """The name without what most have or the frame around it says: ``addmm``; ``attention`` inside ``encoder.0``.

    It is as the program gave it: to be cleaned where it is drawn.
    """
    if frame.kind == "layer":
        return frame.name.removeprefix(f"{above.name}.") if above is not None and above.kind == "layer" else frame.name
    return frame.name.removeprefix("autograd::engine::evaluate_function: ").removeprefix("aten::")
