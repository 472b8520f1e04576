"""The syntax tree of a query: frozen, comparable, and without a trace of how it was written.

Numbers are whole: nanoseconds for times, bytes for sizes. A clause whose field has no value in a row is false there,
and its negation true: the language has two truth values.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from deepseek_prof.query.globs import Glob

Operator = Literal[">", ">=", "<", "<="]


@dataclass(frozen=True)
class Everything:
    """The empty query: true in every row."""


@dataclass(frozen=True)
class Word:
    """``gelu``: the operator, the layer or the message contains the glob, whatever the case of ASCII letters."""

    glob: Glob


@dataclass(frozen=True)
class TextMatch:
    """``layer:a.*,b``: the field matches one of the globs."""

    field: str
    globs: tuple[Glob, ...]
    position: int = dataclasses.field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class Range:
    """``10..20``, both ends included; an end left out is None, and with both left out (``*``) any number will do."""

    first: int | None
    last: int | None


@dataclass(frozen=True)
class NumberMatch:
    """``step:3,10..20``: the field is one of the numbers or in one of the ranges."""

    field: str
    values: tuple[int | Range, ...]
    position: int = dataclasses.field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class Comparison:
    """``dur>1ms``."""

    field: str
    operator: Operator
    value: int
    position: int = dataclasses.field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class LevelComparison:
    """``level>=warning``."""

    operator: Operator
    level: str
    field: str = "level"
    position: int = dataclasses.field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class Not:
    """``-clause``."""

    operand: Node


@dataclass(frozen=True)
class And:
    """Clauses side by side: two or more, none of them an :class:`And`."""

    operands: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Clauses joined by ``or``: two or more, none of them an :class:`Or`."""

    operands: tuple[Node, ...]


Clause = TextMatch | NumberMatch | Comparison | LevelComparison
Node = Everything | Word | Clause | Not | And | Or
