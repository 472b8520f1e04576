"""How findings write times, fractions and counts."""

from __future__ import annotations

from collections.abc import Iterable

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


def duration(ns: float) -> str:
    """Nanoseconds as text with three significant digits, such as ``12.3 ms``."""
    for size, unit in _UNITS:
        if abs(ns) >= size:
            value = ns / size
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    return f"{ns:.0f} ns"


def percent(fraction: float) -> str:
    """A fraction as text, such as ``12 %`` or, below ten per cent, ``3.4 %``."""
    return f"{fraction:.0%}".replace("%", " %") if fraction >= 0.0995 else f"{fraction:.1%}".replace("%", " %")


def number(value: float) -> str:
    """A count as text with a thousands separator; fractions only below 10."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def listing(items: Iterable[str], limit: int = 3) -> str:
    """The first few items, and how many are left out."""
    every = list(items)
    shown = ", ".join(every[:limit])
    return f"{shown} and {len(every) - limit} more" if len(every) > limit else shown
