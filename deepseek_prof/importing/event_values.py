"""What events of a trace file say as numbers and text, whatever stands in their places: -1 or NaN for what is none."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from deepseek_prof.importing.event_columns import Int64s


def whole_nanoseconds(time_us: npt.NDArray[np.float64]) -> Int64s:
    """Whole microseconds times a thousand as integers: as a double, the product would be off by up to 128 ns."""
    whole = np.floor(time_us)
    return whole.astype(np.int64) * 1000 + np.rint((time_us - whole) * 1000).astype(np.int64)


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def as_floats(values: Iterable[Any]) -> npt.NDArray[np.float64]:
    """Doubles, NaN for whatever is no number."""
    return np.array([_float(value) for value in values], dtype=np.float64)


def as_integers(values: list[Any]) -> Int64s:
    """Whole numbers, -1 for whatever is none."""
    try:
        return np.array(values, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return np.array([as_integer(value) for value in values], dtype=np.int64)


def as_integer(value: Any) -> int:
    """A whole number, what lies behind its point left out; -1 for whatever is none."""
    number = _float(value)
    if not isfinite(number) or abs(number) >= 2**63:
        return -1
    return value if isinstance(value, int) else int(number)


def external_ids(arguments: list[Any]) -> Int64s:
    """The numbers that operators have had, by which work names its operator; -1 where there is none."""
    found = as_integers([each.external_id for each in arguments])
    if (found < 0).any():
        older = as_integers([each.external_id_2020 for each in arguments])
        found = np.where(found < 0, older, found)
    return found


def as_text(value: Any) -> str:
    """A name as text that UTF-8 can hold."""
    text = "" if value is None else value if isinstance(value, str) else str(value)
    return text.encode("utf-8", errors="replace").decode("utf-8")
