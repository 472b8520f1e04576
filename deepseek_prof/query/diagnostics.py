"""What went wrong in a query, with the place marked by carets below it."""

from __future__ import annotations

import unicodedata

from deepseek_prof.errors import QueryError

_CONTEXT = 50
"""Characters shown of a long query on either side of the place."""


def query_error(problem: str, text: str, start: int, end: int | None = None) -> QueryError:
    """The error for ``text[start:end]`` (one character without ``end``).

    ``problem`` is one or two sentences without line breaks. What comes from the query is shown with control characters
    replaced, so that it cannot disturb the terminal, and the carets stand below it in wide scripts too.
    """
    start = min(start, len(text))
    end = max(start + 1, start + 1 if end is None else end)
    first = max(0, start - _CONTEXT)
    last = min(len(text), max(start + 1, min(end, start + _CONTEXT)) + _CONTEXT)
    before, marked, after = text[first:start], text[start : min(end, last)], text[min(end, last) : last]
    head = "…" if first else ""
    tail = "…" if last < len(text) else ""
    line = f"  {head}{visible(before)}{visible(marked)}{visible(after)}{tail}"
    carets = " " * (2 + len(head) + _width(visible(before))) + "^" * max(1, _width(visible(marked)))
    return QueryError(f"{problem}\n{line}\n{carets}", problem=problem, start=start, end=end)


def visible(text: str) -> str:
    """The text with every character that does not print replaced by one that does, of the same number."""
    return "".join(
        char if char.isprintable() else " " if char in "\t\n\r" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def shown(text: str, limit: int = 40) -> str:
    """A piece of the query in quotes, shortened, for use inside a sentence."""
    return f'"{visible(text if len(text) <= limit else text[: limit - 1] + "…")}"'


def _width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
