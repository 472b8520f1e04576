"""Writes the rows of a statement as a table, JSON, CSV or Parquet, batch by batch."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from deepseek_prof.errors import OutputError
from deepseek_prof.exporters.parquet import ArrowSink
from deepseek_prof.narration import printable
from deepseek_prof.text import clean, csv_cell, shortened
from deepseek_prof.trace.statement import Column, Statement

_MIN_TEXT_WIDTH = 8
_MAX_TEXT_WIDTH = 120
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL")


class Destination:
    """Where output goes: a binary file, which ``text`` shows as a text file."""

    def __init__(self, binary: BinaryIO, text: TextIO) -> None:
        self.binary = binary
        self.text = text


@contextmanager
def destination(path: Path | None) -> Iterator[Destination]:
    """Standard output, or a file that takes the place of ``path`` once everything is written.

    Raises:
        OutputError: the file cannot be written.
    """
    if path is None:
        yield Destination(sys.stdout.buffer, sys.stdout)
        return
    try:
        if path.exists() and not path.is_file():  # a pipe or a device has no place that could be taken
            with path.open("wb") as file, _as_text(file) as text:
                yield Destination(file, text)
            return
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file, _as_text(file) as text:
            yield Destination(file, text)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _as_text(file: BinaryIO) -> TextIOWrapper:
    return TextIOWrapper(cast(Any, file), encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(statement: Statement, to: Destination) -> None:
    """One array of objects, an object a line."""
    names = [column.name for column in statement.columns]
    separator = "[\n"
    for rows in statement.batches():
        for row in rows:
            values = {name: _plain(value) for name, value in zip(names, row, strict=True)}
            to.text.write(f"{separator}{json.dumps(values, allow_nan=False)}")
            separator = ",\n"
    to.text.write("[]\n" if separator == "[\n" else "\n]\n")


def write_csv(statement: Statement, to: Destination) -> None:
    """A header and a line a row; nothing for NULL."""
    import csv

    writer = csv.writer(to.text, lineterminator="\n")
    writer.writerow([csv_cell(column.name) for column in statement.columns])
    for rows in statement.batches():
        writer.writerows([_csv_value(value) for value in row] for row in rows)


def write_parquet(statement: Statement, to: Destination) -> None:
    """One Parquet file."""
    import pyarrow.parquet as pq

    reader = statement.arrow()
    with pq.ParquetWriter(ArrowSink(to.binary), reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)


def write_table(statement: Statement, to: Destination, limit: int) -> None:
    """A table that fits the terminal, or a block of lines a row where there are too many columns for that."""
    from rich.text import Text

    from deepseek_prof.cli.rendering import OutputConsole, emit

    rows: list[tuple[Any, ...]] = []
    more = False
    for row in chain.from_iterable(statement.batches()):
        if limit and len(rows) == limit:
            more = True
            break
        rows.append(row)
    if [column.name for column in statement.columns] == ["explain_key", "explain_value"]:
        for _, plan in rows:
            to.text.write(f"{printable(str(plan)).rstrip()}\n")
        return
    console = OutputConsole()
    console.file = to.text
    columns = statement.columns
    cells = [[_shown(value) for value in row] for row in rows]
    widths = _fitted(columns, cells, console.width)
    if widths is None:
        _write_blocks(columns, cells, to.text)
    else:
        emit(console, _table(columns, cells, widths))
    note = f"the first {limit:,} rows; --limit 0 shows all" if more else f"{len(rows):,} row{'s' * (len(rows) != 1)}"
    emit(console, Text(note, style="dim"))


def _table(columns: Sequence[Column], cells: Sequence[Sequence[str | None]], widths: Sequence[int]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column, width in zip(columns, widths, strict=True):
        side = "right" if _is_number(column) else "left"
        table.add_column(Text(shortened(column.name, width)), justify=cast(Any, side), no_wrap=True)
    for row in cells:
        table.add_row(
            *(
                Text("NULL", style="dim") if cell is None else Text(shortened(cell, width))
                for cell, width in zip(row, widths, strict=True)
            )
        )
    return table


def _fitted(columns: Sequence[Column], cells: Sequence[Sequence[str | None]], width: int) -> list[int] | None:
    """Widths of the columns, of which only those of text are narrowed; None where that is not enough."""
    widths = [
        min(_MAX_TEXT_WIDTH, max([len(clean(column.name)), *(len(row[index] or "NULL") for row in cells)]))
        for index, column in enumerate(columns)
    ]
    room = width - 2 * len(columns)
    texts = [index for index, column in enumerate(columns) if not _is_number(column)]
    while sum(widths) > room:
        widest = max(texts, key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= _MIN_TEXT_WIDTH:
            return None
        widths[widest] -= 1
    return widths


def _write_blocks(columns: Sequence[Column], cells: Sequence[Sequence[str | None]], file: TextIO) -> None:
    names = [clean(column.name) for column in columns]
    margin = max(len(name) for name in names)
    for number, row in enumerate(cells, 1):
        shown = ("NULL" if cell is None else cell for cell in row)
        file.write(f"row {number}\n")
        file.writelines(f"  {name:<{margin}}  {cell}\n" for name, cell in zip(names, shown, strict=True))


def _is_number(column: Column) -> bool:
    return column.type.startswith(("U", *_NUMBERS)) or column.type.endswith("INT")


def _shown(value: object) -> str | None:
    """A value as text for people; None for NULL."""
    if value is None or isinstance(value, (int, Decimal)):
        return None if value is None else str(value)
    if isinstance(value, float):
        return _float(value)
    return clean(value if isinstance(value, str) else _text(value), _MAX_TEXT_WIDTH)


def _float(value: float) -> str:
    """Six figures, but never fewer than the whole number has."""
    if not math.isfinite(value) or value == 0 or not 1e-4 <= abs(value) < 1e15:
        return f"{value:.6g}"
    return f"{value:.{max(0, 5 - math.floor(math.log10(abs(value))))}f}"


def _csv_value(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, Decimal)):
        return "" if value is None else value
    return csv_cell(value if isinstance(value, str) else _text(value))


def _text(value: object) -> str:
    """Nested values as JSON, anything else as Python writes it."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _plain(value: object) -> Any:
    """A value of DuckDB as one of JSON; numbers that JSON does not know are null, bytes are hexadecimal."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, Decimal)):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else _text(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value)
