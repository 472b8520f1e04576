"""Text of JSON for whole columns at once: what differs from span to span is a number, every name is escaped once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 4_096
"""Rows of which the text is made at a time: names may be long."""


def quoted(name: str) -> str:
    """A name as a string of JSON, in ASCII."""
    return json.dumps(name)


def texts(values: Iterable[str]) -> pa.Array:
    """Texts as a column that rows are taken from by number."""
    import pyarrow as pa

    return pa.array(list(values), pa.large_string())


def number_text(column: pa.Array) -> pa.Array:
    """Integers as text; null stays null."""
    import pyarrow as pa

    return column.cast(pa.large_string())


def quoted_text(column: pa.Array) -> pa.Array:
    """Texts as strings of JSON; null stays null."""
    encoded = column.dictionary_encode()
    return texts(quoted(each) for each in encoded.dictionary.to_pylist()).take(encoded.indices)


def after(prefix: str, column: pa.Array) -> pa.Array | None:
    """``prefix`` before each text; null stays null. None where all are."""
    import pyarrow.compute as pc

    if column.null_count == len(column):
        return None
    return pc.binary_join_element_wise(_scalar(prefix), column, _scalar(""))


def write_lines(file: BinaryIO, parts: Iterable[pa.Array | str | None]) -> None:
    """Write each row's parts one behind the other, row by row; a null is nothing, a ``str`` is the same in all."""
    import pyarrow.compute as pc

    given: list[Any] = [_scalar(part) if isinstance(part, str) else part for part in parts if part is not None]
    joined = pc.binary_join_element_wise(*given, _scalar(""), null_handling="replace", null_replacement="")
    file.write(_text_of(joined))


def _scalar(text: str) -> pa.Scalar:
    import pyarrow as pa

    return pa.scalar(text, pa.large_string())


def _text_of(column: pa.Array) -> memoryview:
    """The texts of a column as they lie in memory, one behind the other."""
    import numpy as np

    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]
