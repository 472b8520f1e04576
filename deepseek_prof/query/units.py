"""Numbers of a query: read exactly, with units, and written back in the shortest form."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from deepseek_prof.query.fields import FieldType, similar

MAX_VALUE = (1 << 63) - 1
"""The largest value of a column."""

TIME_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
SIZE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

_UNITS: dict[FieldType, dict[str, int]] = {FieldType.TIME: TIME_UNITS, FieldType.SIZE: SIZE_UNITS}
_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?)(?P<unit>.*)", re.IGNORECASE | re.DOTALL
)
_MAX_DIGITS = 40
_MAX_EXPONENT = 100


class NumberError(ValueError):
    """A text is no number that the field can take; the message is a sentence without its full stop."""


def units(field_type: FieldType) -> tuple[str, ...]:
    """The units that a field of this type takes; none for plain counts."""
    return tuple(_UNITS.get(field_type, ()))


def parse_number(text: str, field_type: FieldType) -> Fraction:
    """A number of 0 or more in the field's base unit, exactly; the base unit where the text names none.

    Raises:
        NumberError: not a number, an unknown unit, negative, or too large for a column.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise NumberError(f"this is not a number{_example(field_type)}")
    factor = _factor(match["unit"], field_type)
    mantissa, _, exponent = match["number"].lower().partition("e")
    digits = sum(char.isdigit() for char in mantissa)
    power = min(max(int(exponent[:12] or 0), -(10**6)), 10**6)
    if mantissa.startswith("-"):
        raise NumberError("the number is negative")
    if not any(char in "123456789" for char in mantissa):
        return Fraction(0)
    if power > _MAX_EXPONENT:
        raise NumberError(f"the number is too large (the limit is {MAX_VALUE})")
    if digits > _MAX_DIGITS or power < -_MAX_EXPONENT:
        raise NumberError(f"the number has too many digits (at most {_MAX_DIGITS})")
    value = Fraction(mantissa) * Fraction(10) ** power * factor
    if value > MAX_VALUE:
        raise NumberError(f"the number is too large (the limit is {format_number(MAX_VALUE, FieldType.COUNT)})")
    return value


def parse_whole_number(text: str, field_type: FieldType) -> int:
    """A number that a column can be equal to.

    Raises:
        NumberError: as :func:`parse_number`, or the number is not whole in the field's base unit.
    """
    value = parse_number(text, field_type)
    if value.denominator != 1:
        base = f" of {units(field_type)[0]}" if units(field_type) else ""
        raise NumberError(f"this is not a whole number{base}, so nothing is equal to it; give a range or a comparison")
    return int(value)


def format_number(value: int, field_type: FieldType) -> str:
    """The number with the largest unit that keeps it whole: ``1ms``, ``1500us``."""
    for unit, factor in sorted(_UNITS.get(field_type, {}).items(), key=lambda item: -item[1]):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def bound(operator: str, value: Fraction) -> int:
    """The whole number that a whole column may be compared with instead of ``value``, with the same outcome."""
    return math.floor(value) if operator in (">", "<=") else math.ceil(value)


def _factor(unit: str, field_type: FieldType) -> int:
    known = _UNITS.get(field_type, {})
    plain = unit.strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    if not plain:
        return 1
    for name, factor in known.items():
        if name.lower() == plain.lower():
            return factor
    if not known:
        raise NumberError("this is not a plain number, and the field has no unit")
    nearest = similar(plain, tuple(known)) or similar(plain.lower(), tuple(known))
    raise NumberError(
        f'unknown unit, did you mean "{nearest}"? Units are {", ".join(known)}'
        if nearest
        else f"unknown unit: units are {', '.join(known)}"
    )


def _example(field_type: FieldType) -> str:
    return {FieldType.TIME: ", such as 1.5ms", FieldType.SIZE: ", such as 64KiB"}.get(field_type, "")
