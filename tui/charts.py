"""Small charts as text: sparklines, histograms and bars, in block characters that every terminal font has."""

from __future__ import annotations

import math
from collections.abc import Sequence

_HEIGHTS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def sparkline(values: Sequence[float], width: int, *, floor: float | None = None) -> str:
    """``values`` in ``width`` cells at most, each cell the highest of those it stands for.

    The lowest block is ``floor``, or else the smallest value.
    """
    if not values or width <= 0:
        return ""
    cells = _gathered(values, width)
    low = min(cells) if floor is None else floor
    span = max(cells) - low
    if span <= 0:
        return _HEIGHTS[3] * len(cells)
    return "".join(_HEIGHTS[max(0, min(7, math.floor((value - low) / span * 7.999)))] for value in cells)


def histogram(values: Sequence[float], rows: int) -> list[tuple[float, float, int]]:
    """``values`` in ``rows`` equal classes between the first and the 99th percentile, the outermost open-ended.

    Returns the lower and upper end of each class and how many values it holds.
    """
    if not values or rows <= 0:
        return []
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 100], ordered[min(len(ordered) - 1, math.ceil(len(ordered) * 0.99))]
    if high <= low:
        return [(low, high, len(values))]
    width = (high - low) / rows
    counts = [0] * rows
    for value in values:
        counts[max(0, min(rows - 1, math.floor((value - low) / width)))] += 1
    return [(low + index * width, low + (index + 1) * width, count) for index, count in enumerate(counts)]


def bar(share: float, width: int) -> str:
    """A bar of ``width`` cells for a share of 1, exact to an eighth; something is seen of more than nothing."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(max(1, eighths) if share > 0 else 0, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _gathered(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    return [
        max(values[index * len(values) // width : max((index + 1) * len(values) // width, 1)]) for index in range(width)
    ]
