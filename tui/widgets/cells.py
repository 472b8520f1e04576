"""Text in a fixed number of terminal cells: wide characters take two, combining ones none."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len, set_cell_size

_NARROW = 5


def fitted(text: str, width: int) -> str:
    """``text`` in exactly ``width`` cells: padded, or cut with an ellipsis at its end."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, width - 1).rstrip() + "…", width)


def fitted_end(text: str, width: int) -> str:
    """``text`` in exactly ``width`` cells, cut at its beginning: what tells paths apart is their end."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    kept = text
    while cell_len(kept) > width - 1:
        kept = kept[max(1, (cell_len(kept) - width) // 2) :]
    return set_cell_size("…" + kept, width)


def fitted_middle(text: str, width: int) -> str:
    """``text`` in exactly ``width`` cells, cut in its middle: names of layers differ at both ends, mostly the last."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    head = (width - 1) // 3
    return set_cell_size(text, head) + fitted_end(text, width - head) if head else fitted_end(text, width)


def message_line(text: str, y: int, width: int) -> str:
    """Line ``y`` of a text that stands, wrapped and with a margin, where a widget has nothing to draw."""
    wrapped = ["", *textwrap.wrap(text, max(1, width - 4))]
    return fitted(f"  {wrapped[y]}" if y < len(wrapped) else "", width)


def boxed(text: str, width: int, *, keep_end: bool = False) -> str:
    """``text`` in a box of ``width`` cells whose left edge is drawn, so that boxes of one colour stay apart.

    It is cut at its end, or at its beginning with ``keep_end``. A narrow box has no ellipsis, which would take the
    place of what little can be read.
    """
    inner = width - 1
    if inner > _NARROW:
        return f"▏{fitted_end(text, inner) if keep_end else fitted(text, inner)}"
    while keep_end and cell_len(text) > inner:
        text = text[1:]
    return f"▏{set_cell_size(text, inner)}"
