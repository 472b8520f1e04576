"""Syntax tree to text: :func:`to_text` gives a query that parses to the same tree, :func:`explain` shows its shape."""

from __future__ import annotations

import re

from deepseek_prof.query.fields import FIELDS
from deepseek_prof.query.globs import Glob
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
from deepseek_prof.query.units import format_number

_BARE = re.compile(r"""(?:\\[\s\S]|[^\s"'(),\\])+""")
_NOT_A_WORD = re.compile(r"[-<>=]|(?:or|and|not)\Z|[A-Za-z_][A-Za-z0-9_]*(?:[<>=!]|:(?!:))", re.IGNORECASE)


def to_text(node: Node) -> str:
    """The query in its plainest spelling."""
    if isinstance(node, Everything):
        return ""
    if isinstance(node, Word):
        return _word(node.glob)
    if isinstance(node, TextMatch):
        return f"{node.field}:{','.join(_value(glob) for glob in node.globs)}"
    if isinstance(node, NumberMatch):
        return f"{node.field}:{','.join(_number(node.field, value) for value in node.values)}"
    if isinstance(node, Comparison):
        return f"{node.field}{node.operator}{format_number(node.value, FIELDS[node.field].type)}"
    if isinstance(node, LevelComparison):
        return f"{node.field}{node.operator}{node.level}"
    if isinstance(node, Not):
        inside = to_text(node.operand)
        return f"-({inside})" if isinstance(node.operand, Not | And | Or) else f"-{inside}"
    if isinstance(node, And):
        return " ".join(f"({to_text(part)})" if isinstance(part, Or) else to_text(part) for part in node.operands)
    return " or ".join(to_text(part) for part in node.operands)


def quoted(text: str) -> str:
    """A value that matches just this text, whatever characters it holds: ``layer:`` and this select one layer."""
    return _value(Glob.literal(text))


def explain(node: Node, indent: int = 0) -> str:
    """The tree, one node a line, operands below what joins them and indented by two more."""
    margin = "  " * indent
    if isinstance(node, Everything):
        return f"{margin}everything"
    if isinstance(node, Not):
        return f"{margin}not\n{explain(node.operand, indent + 1)}"
    if isinstance(node, And | Or):
        name = "all of" if isinstance(node, And) else "any of"
        return "\n".join([f"{margin}{name}", *(explain(part, indent + 1) for part in node.operands)])
    if isinstance(node, Word):
        return f"{margin}op, layer or msg contains {to_text(node)}"
    return f"{margin}{to_text(node)}"


def _value(glob: Glob) -> str:
    source = str(glob)
    return source if _BARE.fullmatch(source) and source[0] not in "<>=:" else _in_quotes(source)


def _word(glob: Glob) -> str:
    source = str(glob)
    return source if _BARE.fullmatch(source) and not _NOT_A_WORD.match(source) else _in_quotes(source)


def _in_quotes(source: str) -> str:
    r"""The source in double quotes; a quote that is not escaped yet becomes ``\"``, which a glob reads as a quote."""
    return '"' + re.sub(r'\\[\s\S]|"', lambda found: '\\"' if found[0] == '"' else found[0], source) + '"'


def _number(field: str, value: int | Range) -> str:
    kind = FIELDS[field].type
    if isinstance(value, int):
        return format_number(value, kind)
    if value.first is None and value.last is None:
        return "*"
    first, last = ("" if end is None else format_number(end, kind) for end in (value.first, value.last))
    return f"{first}..{last}"
