"""Syntax tree to a boolean DuckDB expression over the columns of a view.

No text of the query's ever becomes SQL: column names come from the table of fields, every value is a parameter.

A missing value (NULL) makes a clause false. As ``AND`` and ``OR`` never turn a NULL into TRUE where FALSE would not,
only negation needs care: ``IS NOT TRUE``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from deepseek_prof.query.diagnostics import query_error
from deepseek_prof.query.fields import FIELDS, MESSAGE_COLUMN, Table, word_columns
from deepseek_prof.query.globs import CharClass, Glob, Part, Wildcard
from deepseek_prof.query.meaning import admitted_levels, name_globs
from deepseek_prof.query.parser import parse
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

_ROWS = {
    Table.SPANS: "spans",
    Table.LOGS: "log events",
    Table.SAMPLES: "samples of Python stacks",
    Table.ALLOCATIONS: "allocations",
}
_ORIGIN = {Table.LOGS: "ts_ns) FROM logs"}
"""Where ``start`` counts from without an origin; elsewhere from the earliest span."""
_MESSAGE_SQL = "coalesce(CASE WHEN json_valid(fields) THEN json_extract_string(fields, '$.message') END, event)"


@dataclass(frozen=True)
class CompiledQuery:
    """A boolean SQL expression with one ``?`` for each of ``params``."""

    sql: str
    params: tuple[object, ...]


def compile_query(text: str, table: Table = Table.SPANS, *, origin_ns: int | None = None) -> CompiledQuery:
    """A query as a condition on the rows of one view; ``TRUE`` for an empty query.

    Args:
        text: the query.
        table: the view that the columns belong to.
        origin_ns: the moment from which ``start`` counts; without it, the earliest one in the view.

    Raises:
        QueryError: the text does not parse, or names a field that the view does not have.
    """
    tree = parse(text)
    _check_fields(tree, table, text)
    return compile_tree(tree, table, origin_ns=origin_ns)


def compile_tree(tree: Node, table: Table = Table.SPANS, *, origin_ns: int | None = None) -> CompiledQuery:
    """As :func:`compile_query`, where a field that the view does not have is a missing value in each of its rows.

    This is what a query over several views at once needs: ``level:warning or dur>1s`` selects from both.
    """
    compiler = _Compiler(table, origin_ns)
    sql = compiler.condition(tree)
    return CompiledQuery(sql, tuple(compiler.params))


def _check_fields(tree: Node, table: Table, text: str) -> None:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Not):
            waiting.append(node.operand)
        elif isinstance(node, And | Or):
            waiting.extend(node.operands)
        elif not isinstance(node, Everything | Word) and FIELDS[node.field].column(table) is None:
            problem = f'this selects {_ROWS[table]}, which have no field "{node.field}".'
            raise query_error(problem, text, node.position, node.position + len(node.field))


@dataclass
class _Compiler:
    table: Table
    origin_ns: int | None
    params: list[object] = field(default_factory=list)

    def condition(self, node: Node) -> str:
        if isinstance(node, Everything):
            return "TRUE"
        if isinstance(node, And | Or):
            sign = " AND " if isinstance(node, And) else " OR "
            return f"({sign.join(self.condition(part) for part in node.operands)})"
        if isinstance(node, Not):
            return f"(({self.condition(node.operand)}) IS NOT TRUE)"
        if isinstance(node, Word):
            return self._any(
                self._regex("regexp_matches", _sql_column(name), _regex(node.glob, any_case=True))
                for name in word_columns(self.table)
            )
        name = FIELDS[node.field].column(self.table)
        if name is None:
            return "FALSE"
        column = _sql_column(name)
        if isinstance(node, TextMatch):
            return self._text(column, [glob for each in node.globs for glob in name_globs(node.field, each)])
        if isinstance(node, LevelComparison):
            return self._text(column, [Glob.literal(level) for level in admitted_levels(node)])
        return self._number(column, node)

    def _number(self, column: str, node: NumberMatch | Comparison) -> str:
        offset = node.field == "start"
        if isinstance(node, Comparison):
            return f"{column} {node.operator} {self._value(node.value, offset)}"
        single = [self._value(item, offset) for item in node.values if not isinstance(item, Range)]
        tests = [f"{column} IN ({', '.join(single)})"] if single else []
        for item in node.values:
            if not isinstance(item, Range):
                continue
            if item.first is None and item.last is None:
                tests.append(f"{column} IS NOT NULL")
            elif item.last is None:
                tests.append(f"{column} >= {self._value(item.first or 0, offset)}")
            elif item.first is None:
                tests.append(f"{column} <= {self._value(item.last, offset)}")
            else:
                low, high = self._value(item.first, offset), self._value(item.last, offset)
                tests.append(f"{column} BETWEEN {low} AND {high}")
        return self._any(tests)

    def _value(self, value: int, offset: bool) -> str:
        """The placeholder of a number; one that counts from the origin has the origin added."""
        if offset and self.origin_ns is not None:
            value += self.origin_ns
        self.params.append(value)
        if offset and self.origin_ns is None:
            # HUGEINT: the sum may be beyond what the column holds.
            return f"(SELECT min({_ORIGIN.get(self.table, 'start_ns) FROM raw_spans')})::HUGEINT + ?"
        return "?"

    def _text(self, column: str, globs: list[Glob]) -> str:
        """Whether a column matches one of the globs: by plain comparisons where they will do, as these are fast."""
        literals = [glob.text for glob in globs if glob.text is not None]
        tests = []
        if literals:
            self.params.extend(literals)
            tests.append(f"{column} IN ({', '.join('?' for _ in literals)})")
        tests.extend(self._pattern(column, glob) for glob in globs if glob.text is None)
        return self._any(tests)

    def _pattern(self, column: str, glob: Glob) -> str:
        shape = tuple(part if isinstance(part, Wildcard) else type(part) for part in glob.parts)
        function = {
            (str, Wildcard.ANY): "starts_with",
            (Wildcard.ANY, str): "ends_with",
            (Wildcard.ANY, str, Wildcard.ANY): "contains",
        }.get(shape)
        if shape == (Wildcard.ANY,):
            return f"{column} IS NOT NULL"
        if function is not None:
            self.params.extend(part for part in glob.parts if isinstance(part, str))
            return f"{function}({column}, ?)"
        return self._regex("regexp_full_match", column, _regex(glob))

    def _regex(self, function: str, column: str, regex: str) -> str:
        self.params.append(regex)
        return f"{function}({column}, ?, 's')"

    def _any(self, tests: Iterable[str]) -> str:
        """Some tests joined by OR; without any, as for ``level<debug``, nothing is selected."""
        found = list(tests)
        return f"({' OR '.join(found)})" if len(found) > 1 else "".join(found) or "FALSE"


def _sql_column(name: str) -> str:
    return _MESSAGE_SQL if name == MESSAGE_COLUMN else name


def _regex(glob: Glob, *, any_case: bool = False) -> str:
    """The glob as a regular expression of RE2; ``any_case`` admits ASCII letters in both cases."""
    return "".join(_regex_part(part, any_case) for part in glob.parts)


def _regex_part(part: Part, any_case: bool) -> str:
    if isinstance(part, Wildcard):
        return ".*" if part is Wildcard.ANY else "."
    if isinstance(part, CharClass):
        ranges = "".join(f"{_code(low)}-{_code(high)}" for low, high in part.ranges)
        return f"[{'^' if part.negated else ''}{ranges}]"
    return "".join(_regex_char(char, any_case) for char in part)


def _regex_char(char: str, any_case: bool) -> str:
    if char.isascii() and char.isalpha():
        return f"[{char.lower()}{char.upper()}]" if any_case else char
    return char if char.isalnum() or char == "_" else _code(char)


def _code(char: str) -> str:
    return f"\\x{{{ord(char):x}}}"
