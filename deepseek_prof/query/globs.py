r"""Globs: ``*`` any text, ``?`` one character, ``[a-z]`` one of a set, ``[!a-z]`` one outside it, ``\`` the next as is.

A glob must match a value from beginning to end. ``*`` and ``?`` match every character, dots and line breaks too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

MAX_WILDCARDS = 100
"""In one glob, so that a regular expression made of it stays small."""


class Wildcard(Enum):
    """A part of a glob that stands for other text."""

    ANY = "*"
    ONE = "?"


@dataclass(frozen=True)
class CharClass:
    """One character inside, or with ``negated`` outside, some ranges; both ends of a range belong to it."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def holds(self, char: str) -> bool:
        """Whether the class admits a character."""
        return any(low <= char <= high for low, high in self.ranges) is not self.negated

    def caseless(self) -> CharClass:
        """The same class, where an ASCII letter that it names stands for both its cases."""
        ranges = list(self.ranges)
        for low, high in self.ranges:
            for first, last, shift in (("A", "Z", 32), ("a", "z", -32)):
                letters = max(low, first), min(high, last)
                if letters[0] > letters[1]:
                    continue
                image = chr(ord(letters[0]) + shift), chr(ord(letters[1]) + shift)
                if not any(known[0] <= image[0] and image[1] <= known[1] for known in ranges):
                    ranges.append(image)
        return CharClass(tuple(ranges), self.negated)


Part = str | Wildcard | CharClass


class GlobError(ValueError):
    """A glob does not parse; ``args`` are the problem and the offset in the glob's source."""

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(problem, offset)
        self.problem = problem
        self.offset = offset


@dataclass(frozen=True)
class Glob:
    """A parsed glob. Strings among ``parts`` are literal, not empty, and never stand side by side; nor do two ``*``."""

    parts: tuple[Part, ...]

    @classmethod
    def literal(cls, text: str) -> Glob:
        """The glob that matches just this text."""
        return cls((text,) if text else ())

    @classmethod
    def parse(cls, source: str) -> Glob:
        """Read a glob.

        Raises:
            GlobError: a bracket is not closed, a range is reversed, a backslash ends the text, or it is too long.
        """
        parts: list[Part] = []
        for part in _parts(source):
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            elif part is not Wildcard.ANY or not parts or parts[-1] is not Wildcard.ANY:
                parts.append(part)
        if sum(not isinstance(part, str) for part in parts) > MAX_WILDCARDS:
            raise GlobError(f"a pattern may hold at most {MAX_WILDCARDS} wildcards", 0)
        return cls(tuple(parts))

    @property
    def text(self) -> str | None:
        """The one text that the glob matches; None if it has wildcards."""
        if not self.parts:
            return ""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], str) else None

    def matches(self, value: str) -> bool:
        """Whether the whole of ``value`` matches. Takes at most ``len(value) * len(glob)`` comparisons."""
        units = [unit for part in self.parts for unit in (part if isinstance(part, str) else (part,))]
        unit = char = 0
        star, star_char = -1, 0  # the last `*` seen, and the first character after what it covers
        while char < len(value):
            if unit < len(units) and units[unit] is Wildcard.ANY:
                star, star_char = unit, char
                unit += 1
            elif unit < len(units) and _admits(units[unit], value[char]):
                unit += 1
                char += 1
            elif star >= 0:
                star_char += 1
                unit, char = star + 1, star_char
            else:
                return False
        return all(left is Wildcard.ANY for left in units[unit:])

    def caseless(self) -> Glob:
        """The glob for text in which ASCII letters are in lower case, as :func:`ascii_lower` makes it."""
        return Glob(tuple(_caseless(part) for part in self.parts))

    def __str__(self) -> str:
        return "".join(_source(part) for part in self.parts)


def ascii_lower(text: str) -> str:
    """Text with the letters A to Z in lower case and nothing else changed."""
    return "".join(char.lower() if char.isascii() else char for char in text)


def escaped(text: str) -> str:
    """A glob's source that matches just this text."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in text)


def _caseless(part: Part) -> Part:
    if isinstance(part, str):
        return ascii_lower(part)
    return part.caseless() if isinstance(part, CharClass) else part


def _admits(unit: Part, char: str) -> bool:
    if isinstance(unit, CharClass):
        return unit.holds(char)
    return unit is Wildcard.ONE or unit == char


def _parts(source: str) -> Iterator[Part]:
    at = 0
    while at < len(source):
        char = source[at]
        if char == "[":
            found, at = _char_class(source, at)
            yield found
            continue
        if char == "\\":
            if at + 1 == len(source):
                raise GlobError("nothing follows the backslash", at)
            yield source[at + 1]
            at += 2
            continue
        yield Wildcard(char) if char in "*?" else char
        at += 1


def _char_class(source: str, opening: int) -> tuple[CharClass, int]:
    """The class that begins at ``opening``, and the offset behind it. A ``]`` in the first place is a member."""
    at = opening + 1
    negated = source[at : at + 1] == "!"
    at += negated
    first = at
    members: list[tuple[str, bool, int]] = []  # character, whether it was escaped, offset
    while at < len(source) and (source[at] != "]" or at == first):
        is_escaped = source[at] == "\\" and at + 1 < len(source)
        members.append((source[at + is_escaped], is_escaped, at))
        at += 1 + is_escaped
    if at >= len(source):
        raise GlobError('"[" is not closed (a bracket that is meant as such is written "\\[")', opening)
    ranges = []
    index = 0
    while index < len(members):
        low = members[index][0]
        high = low
        if index + 2 < len(members) and members[index + 1][:2] == ("-", False):
            high = members[index + 2][0]
            if high < low:
                raise GlobError("the range in brackets is reversed", members[index][2])
            index += 2
        ranges.append((low, high))
        index += 1
    return CharClass(tuple(ranges), negated), at + 1


def _source(part: Part) -> str:
    if isinstance(part, Wildcard):
        return part.value
    if isinstance(part, str):
        return escaped(part)
    members = "".join(_member(low) if low == high else f"{_member(low)}-{_member(high)}" for low, high in part.ranges)
    return f"[{'!' if part.negated else ''}{members}]"


def _member(char: str) -> str:
    return char if char.isalnum() or not char.isascii() else f"\\{char}"
