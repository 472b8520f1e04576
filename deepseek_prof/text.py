"""Figures and names as text for people: times, sizes, shares, and names that may hold anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os.path import commonprefix

_TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_NAME_LIMIT = 120
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def duration(ns: float) -> str:
    """A time with three figures: ``10.8 ms``; minutes from 120 s on."""
    if ns >= 120e9:
        minutes, seconds = divmod(round(ns / 1e9), 60)
        return f"{minutes} min {seconds:02d} s"
    if ns <= 0:
        return "0"
    scale, unit = next(((scale, unit) for scale, unit in _TIMES if ns >= scale * 0.9995), _TIMES[-1])
    return f"{_three_figures(ns / scale)} {unit}"


def size(size_bytes: float) -> str:
    """A size with three figures: ``525 MiB``."""
    for scale, unit in _SIZES:
        if size_bytes >= scale:
            return f"{_three_figures(size_bytes / scale)} {unit}"
    return f"{size_bytes:.0f} B"


def percent(share: float) -> str:
    """A fraction as a percentage: ``41 %``, ``1.2 %``, ``<0.1 %``."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{share * 100:.0f} %" if share >= 0.0995 or share == 0 else f"{share * 100:.1f} %"


def count(number: float) -> str:
    """A count, which per step may be a fraction: ``1,425``, ``0.25``."""
    if number >= 100 or float(number).is_integer():
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2g}"


def measured(value: float, unit: str) -> str:
    """A metric's value in the unit of the counters: ``10.8 ms``, ``525 MiB``, ``41 %``, ``92.4/s``, ``301 W``."""
    if unit == "ns":
        return duration(value)
    if unit == "bytes":
        return size(value)
    if unit == "bytes/s":
        return f"{size(value)}/s"
    if unit == "percent":
        return f"{value:.0f} %"
    figure = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return f"{figure}{unit[1:]}" if unit == "1/s" else f"{figure} {clean(unit, 12)}".rstrip()


def counted(number: float, noun: str, plural: str = "") -> str:
    """A count with what is counted: ``1 span``, ``1,425 spans``."""
    return f"{count(number)} {noun if number == 1 else plural or f'{noun}s'}"


def clean(name: str, limit: int = _NAME_LIMIT) -> str:
    """A name from a program, on one line: control characters made visible, long ones shortened in the middle."""
    if len(name) > limit:
        head = (limit - 1) // 2
        name = f"{name[:head]}…{name[len(name) - (limit - 1 - head) :]}"
    return _visible(name)


def csv_cell(name: str) -> str:
    """A name for a CSV file: on one line, and never taken for a formula by the spreadsheet that opens it.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{_visible(name)}" if name.startswith(_FORMULA_STARTS) else _visible(name)


def _visible(name: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)


def shortened(name: str, width: int) -> str:
    """A clean name in at most ``width`` characters, shortened in the middle: its two ends tell it from others."""
    name = clean(name)
    if len(name) <= width:
        return name
    if width < 2:
        return "…"[:width]
    head = math.ceil((width - 1) / 3)
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def shortened_apart(names: Sequence[str], width: int) -> list[str]:
    """Each name by :func:`shortened`, or about where it differs from others that would look the same.

    Names stay alike that differ further apart than ``width`` shows.
    """
    found = {name: shortened(name, width) for name in names}
    alike: dict[str, list[str]] = {}
    for name, short in found.items():
        alike.setdefault(short, []).append(name)
    for group in alike.values():
        if len(group) > 1:
            common = commonprefix(group)  # noqa: RUF071  # characters are meant
            start = max(0, len(common) - width // 4)
            start = common.find(".", max(0, start - 1)) + 1 or start  # at the beginning of a part, such as ``layer.3``
            apart = {name: f"…{shortened(name[start:], width - 1)}" for name in group}
            if len(set(apart.values())) < len(group):  # they differ in a second place, most often the next part
                apart = {name: f"…{clean(name[start:])[: width - 2]}…" for name in group}
            found |= apart
    return [found[name] for name in names]


def _three_figures(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
