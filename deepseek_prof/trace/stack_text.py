"""A stack as one text: frames root first, joined by ``;``, so that ``string_split(stack, ';')`` is right in SQL too."""

from __future__ import annotations

from collections.abc import Iterable

SEPARATOR = ";"


def join_stack(frames: Iterable[str]) -> str:
    """Frames as one text. In them ``;`` becomes ``\\x3b`` and a backslash ``\\x5c``."""
    return SEPARATOR.join(frame.replace("\\", "\\x5c").replace(SEPARATOR, "\\x3b") for frame in frames)


def split_stack(stack: str) -> tuple[str, ...]:
    """The frames of :func:`join_stack`; none for an empty text."""
    if not stack:
        return ()
    parts = stack.split(SEPARATOR)
    if "\\" not in stack:
        return tuple(parts)
    return tuple(part.replace("\\x3b", SEPARATOR).replace("\\x5c", "\\") for part in parts)
