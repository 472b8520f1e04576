"""Colours of operator types and phases. What has a colour is named beside it too.

Paul Tol's "light" scheme (https://personal.sron.nl/~pault/): its nine colours are told apart with any colour vision,
and black text is readable on all of them.
"""

from __future__ import annotations

_FAMILIES = {
    "matrix": ("#77aadd", "matmul conv attention"),
    "normalise": ("#99ddff", "norm softmax reduction pooling loss"),
    "pointwise": ("#44bb99", "activation elementwise random"),
    "lookup": ("#bbcc33", "embedding index"),
    "movement": ("#ee8866", "copy layout memory"),
    "optimizer": ("#ffaabb", "optimizer"),
    "data": ("#eedd88", "data"),
    "collective": ("#aaaa00", "collective"),
}
OTHER = "#dddddd"

TYPE_COLOURS = {name: colour for colour, names in _FAMILIES.values() for name in names.split()}
"""Of every operator type but ``other``."""

PHASE_COLOURS = {
    "data": "#eedd88",
    "forward": "#44bb99",
    "backward": "#77aadd",
    "optimizer": "#ffaabb",
    "other": "#99ddff",
    "outside": "#ee8866",
}


def legend() -> tuple[tuple[str, str], ...]:
    """Colours, each with the types that share it."""
    return tuple((colour, names.replace(" ", ", ")) for colour, names in _FAMILIES.values())
