"""A query evaluated in Python over one row: for records that are not in a database yet, and to check the SQL by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deepseek_prof.query.fields import FIELDS, MESSAGE_COLUMN, Table, word_columns
from deepseek_prof.query.globs import Glob, Wildcard, ascii_lower
from deepseek_prof.query.meaning import COMPARE, admitted_levels, name_globs
from deepseek_prof.query.tree import (
    And,
    Comparison,
    Everything,
    LevelComparison,
    Node,
    Not,
    NumberMatch,
    Or,
    Range,
    TextMatch,
    Word,
)


def evaluate(node: Node, row: Mapping[str, Any], table: Table = Table.SPANS, *, origin_ns: int = 0) -> bool:
    """Whether ``row``, a mapping from the view's column names, is what the query asks for.

    Columns that are missing or None have no value; ``fields`` of a log record may be a mapping or its JSON text.
    ``origin_ns`` is the moment from which ``start`` counts.
    """
    if isinstance(node, Everything):
        return True
    if isinstance(node, And):
        return all(evaluate(part, row, table, origin_ns=origin_ns) for part in node.operands)
    if isinstance(node, Or):
        return any(evaluate(part, row, table, origin_ns=origin_ns) for part in node.operands)
    if isinstance(node, Not):
        return not evaluate(node.operand, row, table, origin_ns=origin_ns)
    if isinstance(node, Word):
        texts = (_column(row, column) for column in word_columns(table))
        return any(isinstance(text, str) and _contains(node.glob, text) for text in texts)
    column = FIELDS[node.field].column(table)
    value = None if column is None else _column(row, column)
    if isinstance(node, TextMatch):
        return isinstance(value, str) and any(
            glob.matches(value) for each in node.globs for glob in name_globs(node.field, each)
        )
    if isinstance(node, LevelComparison):
        return value in admitted_levels(node)
    if not isinstance(value, int):
        return False
    return _number(node, value - (origin_ns if node.field == "start" else 0))


def _number(node: NumberMatch | Comparison, value: int) -> bool:
    if isinstance(node, Comparison):
        return COMPARE[node.operator](value, node.value)
    return any(_in_range(item, value) if isinstance(item, Range) else item == value for item in node.values)


def _in_range(item: Range, value: int) -> bool:
    return (item.first is None or item.first <= value) and (item.last is None or value <= item.last)


def _contains(glob: Glob, text: str) -> bool:
    """Whether some part of the text matches, with ASCII letters taken for the same in both cases."""
    return Glob((Wildcard.ANY, *glob.parts, Wildcard.ANY)).matches(ascii_lower(text))


def _column(row: Mapping[str, Any], name: str) -> Any:
    if name != MESSAGE_COLUMN:
        return row.get(name)
    fields = row.get("fields")
    if isinstance(fields, str):
        try:
            fields = json.loads(fields)
        except ValueError:
            fields = None
    message = fields.get("message") if isinstance(fields, Mapping) else None
    return row.get("event") if message is None else message
