"""Finds where the parts of JSON text begin and end by its brackets and strings alone, valid or not.

The slow, exact way: the fast one guesses a boundary and lets the parser refuse it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A quote that starts no whole string is a token of its own: the text ends inside a string.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_OPENING = (b"{"[0], b"["[0])
_CLOSING = (b"}"[0], b"]"[0])


@dataclass(frozen=True)
class Elements:
    """The whole elements of an array: ``slices`` of the text; ``rest`` is where the first one that is not whole, or
    what separates it, begins. ``end`` is the index of the bracket that closes the array, None if it is not there."""

    slices: tuple[tuple[int, int], ...]
    rest: int
    end: int | None


def array_elements(text: bytes) -> Elements:
    """The objects and arrays of an array whose opening bracket is left out."""
    depth = start = rest = 0
    slices = []
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in _OPENING:
            if depth == 0:
                start = token.start()
            depth += 1
        elif first in _CLOSING:
            depth -= 1
            if depth == 0:
                slices.append((start, token.end()))
                rest = token.end()
            elif depth < 0:
                return Elements(tuple(slices), rest, token.start())
        elif token.end() - token.start() == 1:
            break
    return Elements(tuple(slices), rest, None)


def find_value(text: bytes, key: bytes) -> tuple[int, int] | None:
    """Where, in the text of an object, a key of the object itself begins, and where its value does; None if not there
    (yet)."""
    depth = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in _OPENING:
            depth += 1
        elif first in _CLOSING:
            depth -= 1
        elif token.end() - token.start() == 1:
            return None
        elif depth == 1 and token[0] == key:
            colon = _COLON.match(text, token.end())
            if colon is not None and colon.end() < len(text):
                return token.start(), colon.end()
    return None
