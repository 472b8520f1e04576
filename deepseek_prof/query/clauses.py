"""What a field makes of the values written after it: one clause of the tree, or an error at the value's place."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import cast

from deepseek_prof.query.diagnostics import shown
from deepseek_prof.query.fields import FIELDS, LEVELS, Field, FieldType, similar, similar_field
from deepseek_prof.query.globs import Glob, GlobError, ascii_lower
from deepseek_prof.query.tree import Clause, Comparison, LevelComparison, NumberMatch, Operator, Range, TextMatch
from deepseek_prof.query.units import MAX_VALUE, NumberError, bound, parse_number, parse_whole_number

_HEAD = re.compile(r"(\w+)\s*(\W+)")


class PlaceError(ValueError):
    """A problem (a sentence without its full stop) with the characters from ``start`` to ``end`` of the query."""

    def __init__(self, problem: str, start: int, end: int) -> None:
        super().__init__(problem, start, end)
        self.problem = problem
        self.start = start
        self.end = end


@dataclass(frozen=True)
class Value:
    """A value as it was written, without its quotes; ``start`` is the place of its first character in the query."""

    source: str
    quoted: bool
    start: int

    @property
    def end(self) -> int:
        """The place behind the last character."""
        return self.start + len(self.source)

    def error(self, problem: str) -> PlaceError:
        """A problem with the whole value."""
        return PlaceError(problem, self.start, max(self.end, self.start + 1))


@dataclass(frozen=True)
class Head:
    """``dur>``: a known field, and how it is compared with what follows."""

    field: Field
    operator: str
    start: int


def read_head(text: str, start: int) -> Head:
    """Split ``layer:`` or ``dur >=``."""
    match = _HEAD.fullmatch(text)
    assert match is not None, text
    name, operator = match[1], match[2].strip()
    end = start + len(name)
    field = FIELDS.get(name)
    if field is None:
        nearest = similar_field(name)
        raise PlaceError(
            f"unknown field {shown(name)}, "
            + (
                f'did you mean "{nearest}"?'
                if nearest
                else f"fields are {', '.join(FIELDS)} (text with such a sign in it is searched in quotes)"
            ),
            start,
            end,
        )
    problem = None
    if operator in ("=", "=="):
        problem = f'equality is written "{name}:value"'
    elif operator == "!=":
        problem = f'inequality is written "-{name}:value"'
    elif operator != ":" and not field.type.is_number and field.type is not FieldType.LEVEL:
        problem = f'"{name}" is text, which has no order: write "{name}:value"'
    if problem is not None:
        raise PlaceError(problem, end, start + len(text))
    return Head(field, operator, start)


def read_glob(value: Value) -> Glob:
    """The glob that a value holds."""
    try:
        return Glob.parse(value.source)
    except GlobError as error:
        start = value.start + error.offset
        raise PlaceError(error.problem, start, start + 1) from None


def read_clause(head: Head, values: list[Value]) -> Clause:
    """The clause that a field and its values make."""
    field = head.field
    if head.operator != ":":
        if len(values) > 1:
            raise values[1].error(f'"{head.operator}" takes one value; several stand after "{field.name}:"')
        return _comparison(head, values[0])
    if field.type.is_number:
        return NumberMatch(field.name, tuple(_number_item(field, value) for value in values), head.start)
    return TextMatch(field.name, tuple(_text_item(field, value) for value in values), head.start)


def _comparison(head: Head, value: Value) -> Clause:
    operator = cast("Operator", head.operator)
    field = head.field
    if field.type is FieldType.LEVEL:
        level = ascii_lower(value.source)
        if level not in LEVELS:
            raise value.error(_unknown(field, level))
        return LevelComparison(operator, level, position=head.start)
    if ".." in value.source:
        raise value.error(f'a range stands after a colon: "{field.name}:first..last"')
    try:
        number = bound(operator, parse_number(value.source, field.type))
    except NumberError as error:
        raise value.error(f'"{field.name}": {error}') from None
    return Comparison(field.name, operator, number, head.start)


def _text_item(field: Field, value: Value) -> Glob:
    if not value.quoted and value.source[:1] in ("<", ">", "="):
        raise value.error(f'"{field.name}" is text, which has no order')
    glob = read_glob(value)
    if field.type is FieldType.TEXT:
        return glob
    glob = glob.caseless()
    if field.type is FieldType.CHOICE and not any(glob.matches(choice) for choice in field.choices):
        raise value.error(_unknown(field, value.source))
    return glob


def _number_item(field: Field, value: Value) -> int | Range:
    source = value.source
    if source == "*":
        return Range(None, None)
    if source[:1] in ("<", ">", "="):
        sign = source[: 2 if source[1:2] == "=" else 1]
        raise value.error(f'a comparison is written without the colon: "{field.name}{sign}value"')
    first, dots, last = source.partition("..")
    try:
        if not dots:
            return parse_whole_number(source, field.type)
        return _range(field, first, last)
    except NumberError as error:
        pattern = ' (patterns are for text; "*" alone means any)' if set(source) & set("*?[") else ""
        raise value.error(f'"{field.name}": {error}{pattern}') from None


def _range(field: Field, first: str, last: str) -> Range:
    """``a..b``, ``a..`` or ``..b``; each end has its own unit."""
    if not first and not last:
        raise NumberError('the range has no ends (any value is "*")')
    low = parse_number(first, field.type) if first else None
    high = parse_number(last, field.type) if last else None
    if low is not None and high is not None and low > high:
        raise NumberError("the range is reversed: the smaller number comes first")
    lowest = None if low is None else math.ceil(low)
    highest = None if high is None else math.floor(high)
    if lowest is not None and lowest > (MAX_VALUE if highest is None else highest):
        raise NumberError("the range holds no whole number")
    return Range(lowest, highest)


def _unknown(field: Field, text: str) -> str:
    nearest = similar(ascii_lower(text), field.choices)
    known = f"known are {', '.join(field.choices)}"
    return f"unknown {field.name} {shown(text)}, " + (f'did you mean "{nearest}"?' if nearest else known)
