"""Colours: two themes, and one colour for each operator type that people with colour blindness can tell apart.

The hues are those of Okabe and Ito, "Color Universal Design" (https://jfly.uni-koeln.de/color/), lightened for dark
and darkened for light backgrounds. Types that seldom matter share a grey; a type is always named beside its colour.
"""

from __future__ import annotations

from textual.theme import Theme

DARK, LIGHT = "deepseek-dark", "deepseek-light"

_HUES = {
    "orange": ("#e69f00", "#9a6a00"),
    "sky": ("#56b4e9", "#1f78b4"),
    "green": ("#2fbf96", "#00755a"),
    "yellow": ("#f0e442", "#7d7500"),
    "blue": ("#6f9cff", "#0047b3"),
    "vermilion": ("#ff7f3f", "#b84300"),
    "purple": ("#dd99c4", "#a13d7d"),
    "grey": ("#9a9a9a", "#6b6b6b"),
}

_TYPE_HUES = {
    "matmul": "blue",
    "conv": "vermilion",
    "attention": "purple",
    "norm": "green",
    "activation": "orange",
    "elementwise": "sky",
    "reduction": "yellow",
    "softmax": "purple",
    "embedding": "green",
    "pooling": "vermilion",
    "loss": "yellow",
    "copy": "orange",
    "layout": "grey",
    "index": "sky",
    "random": "grey",
    "memory": "orange",
    "optimizer": "yellow",
    "collective": "vermilion",
    "data": "green",
}

_PHASE_HUES = {"data": "green", "forward": "sky", "backward": "orange", "optimizer": "yellow", "outside": "purple"}

THEMES = (
    Theme(
        name=DARK,
        primary="#56b4e9",
        secondary="#2fbf96",
        accent="#e69f00",
        warning="#f0e442",
        error="#ff7f3f",
        success="#2fbf96",
        foreground="#e6e6e6",
        background="#121417",
        surface="#1a1d21",
        panel="#262b31",
        dark=True,
    ),
    Theme(
        name=LIGHT,
        primary="#1f78b4",
        secondary="#00755a",
        accent="#9a6a00",
        warning="#7d7500",
        error="#b84300",
        success="#00755a",
        foreground="#1c1c1c",
        background="#fbfbfa",
        surface="#f1f1ef",
        panel="#e2e2df",
        dark=False,
    ),
)


def type_colour(operator_type: str, *, dark: bool) -> str:
    """The colour of an operator type, as ``#rrggbb``; grey for one that is not known."""
    return _HUES[_TYPE_HUES.get(operator_type, "grey")][0 if dark else 1]


def phase_colour(phase: str, *, dark: bool) -> str:
    """The colour of a phase, as ``#rrggbb``; grey for ``other``."""
    return _HUES[_PHASE_HUES.get(phase, "grey")][0 if dark else 1]
