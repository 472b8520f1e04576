"""Query text to syntax tree. The grammar says what may stand where; ``clauses`` what a field makes of its values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import cast

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken

from deepseek_prof.errors import QueryError
from deepseek_prof.query.clauses import Head, PlaceError, Value, read_clause, read_glob, read_head
from deepseek_prof.query.diagnostics import query_error
from deepseek_prof.query.tree import And, Clause, Everything, Node, Not, Or, Word

MAX_LENGTH = 100_000
MAX_CLAUSES = 1_000
MAX_DEPTH = 50
"""Of parentheses and negations inside each other; DuckDB and Python set limits of their own further out."""

# Contextual: VALUE is looked for only behind a HEAD or a comma, the others only where a clause may begin.
_GRAMMAR = r"""
start: disjunction?
disjunction: conjunction (_OR conjunction)*
conjunction: _unary (_AND? _unary)*
_unary: negation | _LPAR disjunction _RPAR | clause | word
negation: _MINUS _unary
clause: HEAD _value (_COMMA _value)*
_value: VALUE | QUOTED
word: WORD | QUOTED

_LPAR: "("
_RPAR: ")"
_COMMA: ","
_MINUS.3: /-(?=[^\s-])/
_OR.3: /(?i:or)(?=[\s()]|\Z)/
_AND.3: /(?i:and)(?=[\s()]|\Z)/
HEAD.2: /[A-Za-z_][A-Za-z0-9_]*(?:[ \t]*(?:>=|<=|!=|==|=|>|<)|:(?!:))/
WORD.1: /(?![-<>=]|(?i:or|and)(?:[\s()]|\Z))(?:\\[\s\S]|[^\s"'(),\\])+(?=[\s)]|\Z)/
VALUE: /(?:\\[\s\S]|[^\s"'(),\\])+(?=[\s),]|\Z)/
QUOTED: /"(?:\\[\s\S]|[^"\\])*"(?=[\s),]|\Z)|'(?:\\[\s\S]|[^'\\])*'(?=[\s),]|\Z)/
%ignore /\s+/
"""


def parse(text: str) -> Node:
    """The syntax tree of a query; :class:`~deepseek_prof.query.tree.Everything` for an empty one.

    Raises:
        QueryError: the text is no query. The message names the place and what to write instead.
    """
    _check_text(text)
    try:
        tree = cast("Node", _grammar().parse(text))
    except PlaceError as error:
        stop = "" if error.problem.endswith("?") else "."
        raise query_error(error.problem + stop, text, error.start, error.end) from None
    except UnexpectedInput as error:
        raise explained(error, text) from None
    _check_extent(tree)
    return tree


class _Builder(Transformer[Token, Node]):
    """Makes nodes while the parser reads, so that no depth of the text costs a depth of the stack."""

    def start(self, found: list[Node]) -> Node:
        return found[0] if found else Everything()

    def disjunction(self, found: list[Node]) -> Node:
        if len(found) == 1:
            return found[0]
        return Or(tuple(part for node in found for part in (node.operands if isinstance(node, Or) else (node,))))

    def conjunction(self, found: list[Node]) -> Node:
        if len(found) == 1:
            return found[0]
        return And(tuple(part for node in found for part in (node.operands if isinstance(node, And) else (node,))))

    def negation(self, found: list[Node]) -> Node:
        return Not(found[0])

    def clause(self, tokens: list[Token]) -> Clause:
        head, *values = tokens
        return read_clause(_head(head), [_value(token) for token in values])

    def word(self, tokens: list[Token]) -> Word:
        value = _value(tokens[0])
        if not value.quoted and value.source.lower() == "not":
            raise value.error('a clause is negated with "-" before it (the word itself is searched in quotes)')
        glob = read_glob(value)
        if glob.text == "":
            raise PlaceError("there is nothing to search for between the quotes", value.start - 1, value.start + 1)
        return Word(glob.caseless())


def _head(token: Token) -> Head:
    return read_head(str(token), _start(token))


def _value(token: Token) -> Value:
    if token.type == "QUOTED":
        return Value(str(token)[1:-1], True, _start(token) + 1)
    return Value(str(token), False, _start(token))


def _start(token: Token) -> int:
    assert token.start_pos is not None
    return token.start_pos


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False, transformer=_Builder())


def _check_text(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise QueryError(f"The query is too long: it has {len(text)} characters, the limit is {MAX_LENGTH}.")
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate is not None:
        raise query_error("the query is not valid UTF-8 here.", text, surrogate.start())


def _check_extent(tree: Node) -> None:
    """Raise :class:`QueryError` for a tree that is deeper or larger than what evaluates it can take."""
    clauses = 0
    waiting: list[tuple[Node, int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise QueryError(f"The query is nested too deeply: the limit is {MAX_DEPTH} levels of parentheses.")
        if isinstance(node, Not):
            waiting.append((node.operand, depth + 1))
        elif isinstance(node, And | Or):
            waiting.extend((operand, depth + 1) for operand in node.operands)
        else:
            clauses += 1
    if clauses > MAX_CLAUSES:
        raise QueryError(f"The query has {clauses} clauses, the limit is {MAX_CLAUSES}.")


def explained(error: UnexpectedInput, text: str) -> QueryError:
    """The error for a text that does not fit the grammar: what is wrong at that place, and what to write."""
    place: int | None = None if _at_end(error) else error.pos_in_stream
    at = len(text) if place is None else place
    left = text[:at].rstrip()
    if at >= len(text.rstrip()):
        return query_error(_missing(left), text.rstrip(), len(text.rstrip()))
    char = text[at]
    if char in "\"'":
        return query_error(_bad_quote(text, at), text, at)
    if char == ")":
        problem = 'there is no "(" to this ")".' if text.count("(") < text.count(")") else "a clause is missing here."
        return query_error(problem, text, at)
    if char == "\\" and at + 1 == len(text):
        return query_error("nothing follows the backslash.", text, at)
    if char == "-":
        twice = text[at : at + 2] == "--"
        problem = '"-" stands once before a clause.' if twice else 'a clause is missing after "-", which negates it.'
        return query_error(problem, text, at)
    if char == ",":
        return query_error('a comma stands between the values of a field; "or" between clauses.', text, at)
    if char in "<>=":
        return query_error("a field is missing in front of this sign.", text, at)
    if re.match(r"(?:or|and)\b", text[at:], re.IGNORECASE):
        return query_error("a clause is missing in front of this word.", text, at, at + 3 - (text[at] in "oO"))
    run = re.match(r"(?:\\[\s\S]|[^\s\"'(),\\])*", text[at:])
    end = at + (run.end() if run else 0)
    if end == len(text) or text[end].isspace():
        return query_error("this does not fit here.", text, at, end)
    return query_error(_bad_end(text, end), text, end)


def _at_end(error: UnexpectedInput) -> bool:
    return isinstance(error, UnexpectedToken) and error.token.type == "$END"


def _missing(left: str) -> str:
    """What a text that stops too early lacks."""
    if left.endswith((":", "<", ">", "=", ",")):
        return "a value is missing here."
    if left.endswith("-"):
        return 'a clause is missing after "-", which negates it.'
    if re.search(r"(?:\(|(?:^|\s)(?:or|and))$", left, re.IGNORECASE):
        return "a clause is missing here."
    return 'a ")" is missing here.'


def _bad_quote(text: str, at: int) -> str:
    closing = re.compile(rf"{text[at]}(?:\\[\s\S]|[^\\{text[at]}])*{text[at]}").match(text, at)
    if closing is None:
        return "this quote is not closed."
    return "a space, a comma or the end must follow the closing quote: quotes enclose whole values."


def _bad_end(text: str, at: int) -> str:
    char = text[at : at + 1]
    if char == ",":
        return 'a comma stands between the values of a field; "or" between clauses.'
    if char in ("(", ")") or char in ("'", '"'):
        return f"a value with {'a parenthesis' if char in '()' else 'a quote'} in it is written in quotes."
    return "nothing follows the backslash."
