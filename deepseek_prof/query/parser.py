"""Query text to syntax tree. The grammar says what may stand where; ``clauses`` what a field makes of its values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NoReturn

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from deepseek_prof.errors import QueryError
from deepseek_prof.query.clauses import Value, comparison, match, read_glob, split_head
from deepseek_prof.query.diagnostics import query_error
from deepseek_prof.query.fields import FIELDS
from deepseek_prof.query.tree import And, Clause, Everything, Node, Not, Or, Word

MAX_LENGTH = 100_000
MAX_CLAUSES = 1_000
MAX_DEPTH = 50
"""Of parentheses and negations inside each other; DuckDB and Python set limits of their own further out."""

# Contextual: VALUE is looked for only behind a HEAD or a comma, the others only where a clause may begin.
_GRAMMAR = r"""
start: [disjunction]
disjunction: conjunction (_OR conjunction)*
conjunction: _unary (_AND? _unary)*
_unary: negation | group | clause | word
negation: MINUS _unary
group: LPAR disjunction RPAR
clause: HEAD value (_COMMA value)*
value: VALUE | QUOTED
word: WORD | QUOTED

LPAR: "("
RPAR: ")"
_COMMA: ","
MINUS.3: /-(?=[^\s-])/
_OR.3: /(?:or|OR)(?=[\s()]|\Z)/
_AND.3: /(?:and|AND)(?=[\s()]|\Z)/
HEAD.2: /[A-Za-z_][A-Za-z0-9_]*(?:[ \t]*(?:>=|<=|!=|==|=|>|<)|:(?!:))/
WORD.1: /(?!-)(?:\\[\s\S]|[^\s"'(),\\])+(?=[\s)]|\Z)/
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
        tokens = _grammar().parse(text)
        tree = _Builder(text).transform(tokens)
    except UnexpectedInput as error:
        _explain(error, text)
    except VisitError as error:
        if isinstance(error.orig_exc, QueryError):
            raise error.orig_exc from None
        raise
    assert isinstance(tree, Everything | Word | Clause | Not | And | Or)
    return tree


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False, propagate_positions=False)


def _check_text(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise QueryError(f"The query is too long: {len(text)} characters, at most {MAX_LENGTH} are read.")
    for index, char in enumerate(text):
        if "\ud800" <= char <= "\udfff":
            raise query_error("This byte is not valid UTF-8 text", text, index)
