"""Random syntax trees in their canonical form, and random rows that such trees have a chance to match."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from deepseek_prof.query.fields import FIELDS, LEVELS, FieldType, Table
from deepseek_prof.query.globs import CharClass, Glob, Part, Wildcard
from deepseek_prof.query.tree import (
    And,
    Comparison,
    LevelComparison,
    Node,
    Not,
    NumberMatch,
    Or,
    Range,
    TextMatch,
    Word,
)

OPERATORS = (">", ">=", "<", "<=")

# Few letters, so that globs meet names, and each sign with a meaning in the language, in SQL, LIKE or a regex.
ALPHABET = "abAB:.01 '\"\\*?[]!^-%_$;(),|{}+<>=\n\x00\x1bßéİK\u0131\u212a漢😀"
characters = st.one_of(st.sampled_from("ab.:"), st.sampled_from(ALPHABET))
texts = st.text(characters, max_size=6)
names = st.one_of(
    texts,
    st.sampled_from(
        ["aten::a", "aten::ab", "a", "ab", "b::aten::a", "encoder.0.b", "Optimizer.step#a", "'; DROP TABLE spans; --"]
    ),
)
numbers = st.one_of(st.integers(0, 12), st.integers(0, (1 << 63) - 1), st.integers(0, 9).map(lambda power: 10**power))
ranges = st.one_of(
    st.builds(lambda pair: Range(min(pair), max(pair)), st.tuples(numbers, numbers)),
    numbers.map(lambda first: Range(first, None)),
    numbers.map(lambda last: Range(None, last)),
    st.just(Range(None, None)),
)


@st.composite
def char_classes(draw: st.DrawFn) -> CharClass:
    """A class of one to three ranges."""
    pairs = draw(st.lists(st.tuples(characters, characters), min_size=1, max_size=3))
    return CharClass(tuple((min(pair), max(pair)) for pair in pairs), draw(st.booleans()))


@st.composite
def globs(draw: st.DrawFn) -> Glob:
    """A glob in its canonical form, or now and then one that is just text."""
    if draw(st.booleans()):
        return Glob.literal(draw(names))
    parts: list[Part] = []
    for part in draw(st.lists(st.one_of(texts, st.sampled_from(Wildcard), char_classes()), max_size=5)):
        if part == "":
            continue
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        elif part is not Wildcard.ANY or not parts or parts[-1] is not Wildcard.ANY:
            parts.append(part)
    return Glob(tuple(parts))


@st.composite
def clauses(draw: st.DrawFn) -> Node:
    """One clause of any field."""
    field = draw(st.sampled_from([*FIELDS.values(), FIELDS["op"], FIELDS["layer"], FIELDS["step"]]))
    if field.type is FieldType.CHOICE:
        choices = draw(st.lists(st.sampled_from(field.choices), min_size=1, max_size=3))
        some = [Glob.literal(choice) for choice in choices]
        return TextMatch(field.name, (*some, *draw(st.sampled_from([(), (Glob((Wildcard.ANY,)),)]))))
    if field.type is FieldType.LEVEL and draw(st.booleans()):
        return LevelComparison(draw(st.sampled_from(OPERATORS)), draw(st.sampled_from(LEVELS)))
    if not field.type.is_number:
        some = draw(st.lists(globs(), min_size=1, max_size=3))
        return TextMatch(field.name, tuple(each.caseless() if field.type is FieldType.LEVEL else each for each in some))
    if draw(st.booleans()):
        return Comparison(field.name, draw(st.sampled_from(OPERATORS)), draw(numbers))
    return NumberMatch(field.name, tuple(draw(st.lists(st.one_of(numbers, ranges), min_size=1, max_size=3))))


words = globs().filter(lambda glob: glob.text != "").map(lambda glob: Word(glob.caseless()))


def _joined(kind: type[And] | type[Or], parts: list[Node]) -> Node:
    """Operands side by side, without one kind inside the same kind."""
    flat = tuple(inner for part in parts for inner in (part.operands if isinstance(part, kind) else (part,)))
    return kind(flat)


trees: st.SearchStrategy[Node] = st.recursive(
    st.one_of(clauses(), words),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: _joined(And, parts)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: _joined(Or, parts)),
    ),
    max_leaves=8,
)


@dataclass
class _Mentioned:
    """The globs, numbers and choices of a tree, by field; a word's stand under each field that it is searched in."""

    globs: dict[str, list[Glob]] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)

    def visit(self, node: Node) -> None:
        """Collect what a tree mentions."""
        if isinstance(node, Not):
            self.visit(node.operand)
        elif isinstance(node, And | Or):
            for part in node.operands:
                self.visit(part)
        elif isinstance(node, Word):
            for name in ("op", "layer", "msg", "event"):
                self.globs.setdefault(name, []).append(node.glob)
        elif isinstance(node, TextMatch):
            self.globs.setdefault(node.field, []).extend(node.globs)
        elif isinstance(node, Comparison):
            self.numbers.setdefault(node.field, []).append(node.value)
        elif isinstance(node, NumberMatch):
            for value in node.values:
                ends = (value.first, value.last) if isinstance(value, Range) else (value,)
                self.numbers.setdefault(node.field, []).extend(end for end in ends if end is not None)


@st.composite
def instances(draw: st.DrawFn, glob: Glob) -> str:
    """A text that the glob matches, or nearly."""
    found = ""
    for part in glob.parts:
        if isinstance(part, str):
            found += draw(st.sampled_from([part, part, part.swapcase()]))
        elif isinstance(part, CharClass):
            low, high = draw(st.sampled_from(part.ranges))
            found += draw(st.sampled_from([low, high])) if not part.negated else draw(characters)
        elif part is Wildcard.ANY:
            found += draw(st.sampled_from(["", "\n", "b", "a.b", "::"]))
        else:
            found += draw(st.sampled_from(["\n", "a", "é", "😀"]))
    return draw(st.sampled_from(["", "", "aten::", "x"])) + found + draw(st.sampled_from(["", "", "", "y"]))


@st.composite
def aimed_rows(draw: st.DrawFn, tree: Node, table: Table) -> list[dict[str, Any]]:
    """Random rows, with values near what the tree mentions in the fields that it mentions."""
    mentioned = _Mentioned()
    mentioned.visit(tree)
    rows: list[dict[str, Any]] = draw(st.lists(span_rows if table is Table.SPANS else log_rows, min_size=2, max_size=8))
    for row in rows[:-1]:
        for name, some in mentioned.globs.items():
            column = FIELDS[name].column(table)
            if column is not None and FIELDS[name].type is not FieldType.CHOICE:
                text = draw(instances(draw(st.sampled_from(some))))
                row.update({"fields": {"message": text}} if name == "msg" else {column: text})
            elif column is not None:
                row[column] = draw(st.sampled_from([each.text or None for each in some]))
        for name, numbers_ in mentioned.numbers.items():
            column = FIELDS[name].column(table)
            limit = (1 << 31) - 1 if name in ("rank", "step", "stream") else (1 << 63) - 1
            if column is not None and numbers_:
                row[column] = min(max(draw(st.sampled_from(numbers_)) + draw(st.integers(-1, 1)), 0), limit)
    return rows


_optional_names = st.one_of(st.none(), names)
_optional_numbers = st.one_of(st.none(), numbers)


def _choice(name: str) -> st.SearchStrategy[str | None]:
    return st.one_of(st.none(), st.sampled_from(FIELDS[name].choices))


span_rows = st.fixed_dictionaries(
    {
        "rank": st.integers(0, 3),
        "pid": numbers,
        "tid": numbers,
        "step": st.one_of(st.none(), st.integers(0, 12)),
        "phase": _choice("phase"),
        "kind": _choice("kind"),
        "name": _optional_names,
        "type": _choice("type"),
        "layer": _optional_names,
        "start_ns": numbers,
        "dur_ns": _optional_numbers,
        "self_ns": _optional_numbers,
        "device": _optional_names,
        "stream": st.one_of(st.none(), st.integers(-1, 12)),
        "bytes": _optional_numbers,
        "flops": _optional_numbers,
    }
)
_messages = st.one_of(
    st.none(),
    st.just("{not JSON"),
    st.just('{"message": null, "other": 1}'),
    st.just("{}"),
    names.map(lambda text: {"message": text}),
)
log_rows = st.fixed_dictionaries(
    {
        "ts_ns": numbers,
        "rank": st.integers(0, 3),
        "level": st.one_of(st.none(), st.sampled_from(LEVELS), names),
        "event": _optional_names,
        "step": st.one_of(st.none(), st.integers(0, 12)),
        "phase": _choice("phase"),
        "layer": _optional_names,
        "op": _optional_names,
        "fields": _messages,
    }
)
