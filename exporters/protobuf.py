"""The wire format of protocol buffers, as much of it as writing takes.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable

_LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """A number from 0 on, seven bits a byte, the lowest first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def integer(field: int, value: int) -> bytes:
    """An integer field; ``value`` is at least 0."""
    return varint(field << 3) + varint(value)


def chunk(field: int, content: bytes) -> bytes:
    """A field that says its length: text, bytes, a message."""
    return varint(field << 3 | _LENGTH_DELIMITED) + varint(len(content)) + content


def packed(field: int, values: Iterable[int]) -> bytes:
    """A repeated integer field."""
    return chunk(field, b"".join(map(varint, values)))
