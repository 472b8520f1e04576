"""What may come next in a query that is being typed: fields, values that the run holds, units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepseek_prof.query.fields import FIELDS, Field, FieldType
from deepseek_prof.query.globs import ascii_lower
from deepseek_prof.query.printer import quoted
from deepseek_prof.query.units import units

if TYPE_CHECKING:
    from deepseek_prof.trace.run import Run

MAX_COMPLETIONS = 50

_HEAD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:(?!:)|>=|<=|>|<)")
_NUMBER = re.compile(r"(?:.*\.\.)?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?P<unit>[A-Za-z]*)", re.DOTALL)
_CONTEXT_COLUMNS = {"op": "name", "type": "type", "layer": "layer", "phase": "phase", "kind": "kind"}


@dataclass(frozen=True)
class Completion:
    """``text`` may take the place of the characters from ``start`` to ``end`` of the query."""

    start: int
    end: int
    text: str
    meaning: str = ""


def complete(
    text: str, cursor: int | None = None, known: Mapping[str, Iterable[str]] | None = None
) -> tuple[Completion, ...]:
    """Completions of the piece of ``text`` that ends at ``cursor`` (its end, by default), the nearest first.

    Args:
        text: a query, which need not parse yet.
        cursor: a place in it, in characters from 0.
        known: values by field, as :func:`known_values` gives; a field that it lacks offers the values it may ever have.
    """
    end = len(text) if cursor is None else max(0, min(cursor, len(text)))
    clause, value = _pieces(text[:end])
    head = _HEAD.match(text, clause, end)
    if head is None:
        prefix = text[clause:end]
        return tuple(
            Completion(clause, end, f"{field.name}:", field.meaning)
            for field in FIELDS.values()
            if field.name.startswith(prefix.lower())
        )
    field = FIELDS.get(head[1])
    if field is None:
        return ()
    start = max(value, head.end())
    if field.type.is_number:
        return _units(field, text[start:end], end)
    return _values(field, text[start:end], start, end, (known or {}).get(field.name, field.choices))


def known_values(run: Run) -> dict[str, tuple[str, ...]]:
    """The values that text fields have in a run, in alphabetical order.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    found = {
        field: tuple(
            name for (name,) in run.rows(f"SELECT DISTINCT {column} FROM contexts WHERE {column} <> '' ORDER BY 1")
        )
        for field, column in _CONTEXT_COLUMNS.items()
    }
    devices = run.rows("SELECT DISTINCT device FROM raw_spans WHERE device IS NOT NULL ORDER BY 1")
    return found | {"device": tuple(name for (name,) in devices)}


def _pieces(left: str) -> tuple[int, int]:
    """Where the clause and the value begin at whose end the cursor stands; quotes and backslashes are minded."""
    clause = value = 0
    quote = ""
    at = 0
    while at < len(left):
        char = left[at]
        if char == "\\":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace() or char == "(" or (char == "-" and at == clause):
            clause = value = at + 1
        elif char == ",":
            value = at + 1
        at += 1
    return clause, value


def _values(field: Field, typed: str, start: int, end: int, values: Iterable[str]) -> tuple[Completion, ...]:
    sought = ascii_lower(re.sub(r"\\([\s\S])", r"\1", typed.lstrip("\"'")))
    ranked = []
    for value in values:
        place = ascii_lower(value).find(sought)
        if place >= 0:
            at_name = place == 0 or (field.name == "op" and value[:place].endswith("::"))
            ranked.append((not at_name, value))
    return tuple(Completion(start, end, quoted(value)) for _, value in sorted(ranked)[:MAX_COMPLETIONS])


def _units(field: Field, typed: str, end: int) -> tuple[Completion, ...]:
    number = _NUMBER.fullmatch(typed)
    if number is None or field.type not in (FieldType.TIME, FieldType.SIZE):
        return ()
    written = number["unit"]
    return tuple(
        Completion(end - len(written), end, unit)
        for unit in units(field.type)
        if unit.lower().startswith(written.lower())
    )
