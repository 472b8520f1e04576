"""Changes a query as text: a value of a field comes or goes, as when a facet is clicked."""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_prof.query import parse, quoted, to_text
from deepseek_prof.query.tree import And, Everything, Node, Not, Or, TextMatch


def chosen(query: str, field: str) -> frozenset[str]:
    """The literal values of ``field`` that every span must have one of: those of its clause at the top of the query."""
    clause = next((each for each in _clauses(query) if _is_on(each, field)), None)
    if not isinstance(clause, TextMatch):
        return frozenset()
    return frozenset(glob.text for glob in clause.globs if glob.text is not None)


def chosen_numbers(query: str, field: str) -> frozenset[str]:
    """As :func:`chosen`, of a field of whole numbers; ranges are left out."""
    clause = next((each for each in _clauses(query) if _is_on(each, field)), None)
    values = getattr(clause, "values", ())
    return frozenset(str(value) for value in values if isinstance(value, int))


def toggled(query: str, field: str, value: str) -> str:
    """``query`` with ``value`` among those asked of ``field``, or without it where it was."""
    before = chosen(query, field) | chosen_numbers(query, field)
    return with_values(query, field, sorted(before ^ {value}, key=lambda each: (len(each), each)))


def with_values(query: str, field: str, values: Sequence[str]) -> str:
    """``query`` where ``field`` is asked to be one of ``values``, each just that text, and nothing else; none: any."""
    return with_globs(query, field, [quoted(value) for value in values])


def with_globs(query: str, field: str, globs: Sequence[str]) -> str:
    """As :func:`with_values`, of values as they are written in a query."""
    others = [_written(each) for each in _clauses(query) if not _is_on(each, field)]
    return " ".join([*others, *([f"{field}:{','.join(globs)}"] if globs else [])])


def _clauses(query: str) -> tuple[Node, ...]:
    tree = parse(query)
    if isinstance(tree, Everything):
        return ()
    return tuple(tree.operands) if isinstance(tree, And) else (tree,)


def _is_on(clause: Node, field: str) -> bool:
    return not isinstance(clause, Not) and getattr(clause, "field", None) == field


def _written(clause: Node) -> str:
    text = to_text(clause)
    return f"({text})" if isinstance(clause, Or) else text
