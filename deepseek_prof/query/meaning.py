"""Rules that evaluation in SQL and in Python have in common, so that each stands in one place."""

from __future__ import annotations

import operator
from collections.abc import Callable

from deepseek_prof.query.fields import LEVELS
from deepseek_prof.query.globs import Glob, Wildcard
from deepseek_prof.query.tree import LevelComparison

COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def name_globs(field: str, glob: Glob) -> tuple[Glob, ...]:
    """The globs of which a field must match one.

    An operator may be named without its namespace: ``op:addmm`` stands for ``op:addmm,*::addmm``, unless the glob has a
    namespace in it or begins with ``*``, which covers any.
    """
    if field != "op" or glob.parts[:1] in ((), (Wildcard.ANY,)):
        return (glob,)
    if any(isinstance(part, str) and "::" in part for part in glob.parts):
        return (glob,)
    first = glob.parts[0]
    rest = glob.parts[1:]
    named = (f"::{first}", *rest) if isinstance(first, str) else ("::", first, *rest)
    return glob, Glob((Wildcard.ANY, *named))


def admitted_levels(node: LevelComparison) -> tuple[str, ...]:
    """The levels that a comparison such as ``level>=warning`` admits; there may be none."""
    place = LEVELS.index(node.level)
    return tuple(level for index, level in enumerate(LEVELS) if COMPARE[node.operator](index, place))
