"""What queries select, case by case, in SQL and in Python alike."""

from __future__ import annotations

from functools import cache
from typing import Any

import duckdb
import pytest

from deepseek_prof.query import Table, compile_query, compile_tree, evaluate, parse, quoted, to_text
from deepseek_prof.query.globs import Glob
from deepseek_prof.query.tree import And, Comparison, Everything, Not, NumberMatch, Or, Range, TextMatch, Word

LONG = "x" * 10_000
NAMES = [
    *("aten::addmm", "aten::addmm_", "addmm", "a.b", "a.B", "a.b.c", "axb", "", "a b", 'quo"te', "it's", "[0]", "a*b"),
    *("a\nb", "\x1b[31mred\x1b[0m", "[bold]rich[/bold]", "😀", "x'; DROP TABLE spans; --", "50%", "a_b", "a\\b", LONG),
]


@cache
def database() -> duckdb.DuckDBPyConnection:
    """An empty database, the same for all tests: opening one takes longer than what they ask of it."""
    return duckdb.connect(":memory:", config={"threads": "1"})


def select(query: str, **columns: Any) -> bool:
    """Whether a query selects one span, by SQL and by Python, which must agree."""
    row = {"rank": 0, "name": None, "layer": None, "step": None, "start_ns": 0, "dur_ns": 0, "bytes": 0} | columns
    tree = parse(query)
    compiled = compile_tree(tree)
    kinds = {name: "BIGINT" for name, value in row.items() if isinstance(value, int)} | {"step": "INTEGER"}
    declared = ", ".join(f"CAST(? AS {kinds.get(name, 'VARCHAR')}) AS {name}" for name in row)
    found = database().execute(
        f"WITH spans AS MATERIALIZED (SELECT {declared}), raw_spans AS (SELECT start_ns FROM spans) "
        f"SELECT 1 FROM spans WHERE {compiled.sql}",
        [*row.values(), *compiled.params],
    )
    selected = found.fetchone() is not None
    assert selected is evaluate(tree, row, origin_ns=row["start_ns"]), query
    return selected


@pytest.mark.parametrize(
    ("query", "selected"),
    [
        ("layer:a.b", ["a.b"]),
        ("layer:a.*", ["a.b", "a.B", "a.b.c"]),
        ("layer:a?b", ["a.b", "axb", "a b", "a*b", "a\nb", "a_b", "a\\b"]),
        ("layer:a[.x]b", ["a.b", "axb"]),
        ("layer:a[!.x]b", ["a b", "a*b", "a\nb", "a_b", "a\\b"]),
        ("layer:a\\*b", ["a*b"]),
        ("layer:*b", ["a.b", "axb", "a b", "a*b", "a\nb", "a_b", "a\\b"]),
        ("layer:x*", ["x'; DROP TABLE spans; --", LONG]),
        ("layer:a[*]b", ["a*b"]),
        ('layer:"a b",axb', ["axb", "a b"]),
        ("layer:'quo\"te'", ['quo"te']),
        ('layer:"quo\\"te"', ['quo"te']),
        ('layer:"it\'s"', ["it's"]),
        ("layer:\\[0]", ["[0]"]),
        ("layer:[[]0[]]", ["[0]"]),
        ("layer:*%", ["50%"]),
        ("layer:a_b", ["a_b"]),
        ('layer:""', [""]),
        ("layer:*", NAMES),
        ("layer:addmm", ["addmm"]),
        ("layer:x*x", [LONG]),
        ("😀", ["😀"]),
        ("DROP", ["x'; DROP TABLE spans; --"]),
        ("ADDM[M]", ["aten::addmm", "aten::addmm_", "addmm"]),
        ("m_", ["aten::addmm_"]),
        ("[A-B].[!b]", ["a.b.c"]),
    ],
)
def test_layer_patterns_and_words(query: str, selected: list[str]) -> None:
    assert [name for name in NAMES if select(query, layer=name)] == selected


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_selected_as_it_is(name: str) -> None:
    query = f"layer:{quoted(name)}"
    assert [each for each in NAMES if select(query, layer=each)] == [name]


@pytest.mark.parametrize(
    ("query", "name", "selected"),
    [
        ("op:addmm", "aten::addmm", True),
        ("op:addmm", "addmm", True),
        ("op:addmm", "aten::addmm_", False),
        ("op:addmm", "aten::baddmm", False),
        ("op:add*", "aten::addmm", True),
        ("op:aten::addmm", "aten::addmm", True),
        ("op:aten::addmm", "x::aten::addmm", False),
        ("op:?ddmm", "aten::addmm", True),
        ("op:*Addmm*", "aten::addmm", False),
        ("addmM", "aten::addmm", True),
        ("aten::addmm", "aten::addmm", True),
    ],
)
def test_operators_with_and_without_their_namespace(query: str, name: str, selected: bool) -> None:
    assert select(query, name=name) is selected


@pytest.mark.parametrize(
    ("query", "dur_ns", "selected"),
    [
        ("dur>1ms", 1_000_000, False),
        ("dur>1ms", 1_000_001, True),
        ("dur>=1ms", 1_000_000, True),
        ("dur<1ms", 1_000_000, False),
        ("dur<=1ms", 1_000_000, True),
        ("dur > 1.5us", 1_501, True),
        ("dur>0.5ns", 0, False),
        ("dur>0.5ns", 1, True),
        ("dur<1.5ns", 1, True),
        ("dur<1.5ns", 2, False),
        ("dur<=1.5ns", 2, False),
        ("dur>=1.5ns", 1, False),
        ("dur:1us..2us", 1_000, True),
        ("dur:1us..2us", 2_000, True),
        ("dur:1us..2us", 2_001, False),
        ("dur:..2us", 0, True),
        ("dur:2us..", 1_999, False),
        ("dur:5,7", 7, True),
        ("dur:5,7..9", 6, False),
        ("dur:1µs", 1_000, True),
        ("dur:1US", 1_000, True),
        ("dur:1e3", 1_000, True),
        ("dur<=9223372036854775807", (1 << 63) - 1, True),
    ],
)
def test_numbers_and_their_limits(query: str, dur_ns: int, selected: bool) -> None:
    assert select(query, dur_ns=dur_ns) is selected


@pytest.mark.parametrize(
    ("query", "size"),
    [("1KB", 1000), ("1kib", 1024), ("2MB", 2 * 10**6), ("1GiB", 1 << 30), ("1.5KiB", 1536), ("7B", 7)],
)
def test_sizes(query: str, size: int) -> None:
    assert select(f"bytes:{query}", bytes=size)
    assert not select(f"bytes:{query}", bytes=size + 1)


def test_a_missing_value_makes_a_clause_false_and_its_negation_true() -> None:
    for query in ("step:*", "step>=0", "layer:*", "layer:a or step:1", "-(-step:1)", "gelu"):
        assert not select(query)
        assert select(f"-({query})")
    assert not select("-(layer:a or rank:0)")
    assert select("-(layer:a rank:0)")


def test_start_counts_from_the_first_span_or_from_a_given_moment() -> None:
    compiled = compile_query("start:10..20")
    with duckdb.connect(":memory:") as connection:
        connection.execute("CREATE TABLE spans AS SELECT 1790000000000000000 + i AS start_ns FROM range(50) rows(i)")
        connection.execute("CREATE VIEW raw_spans AS SELECT start_ns FROM spans")
        counted = f"SELECT count(*) FROM spans WHERE {compiled.sql}"
        assert connection.execute(counted, list(compiled.params)).fetchone() == (11,)
        moved = compile_query("start:10..20", origin_ns=1_790_000_000_000_000_035)
        counted = f"SELECT count(*) FROM spans WHERE {moved.sql}"
        assert connection.execute(counted, list(moved.params)).fetchone() == (5,)


def test_a_moment_beyond_what_a_column_holds_is_never_reached() -> None:
    assert select("start>=0", start_ns=5)
    assert not select("start>=9223372036854775807", start_ns=5)
    assert select("start<9223372036854775807", start_ns=5)


def test_levels_have_an_order() -> None:
    def levels(query: str) -> list[str]:
        tree = parse(query)
        return [level for level in ("debug", "warning", "error", "odd") if evaluate(tree, {"level": level}, Table.LOGS)]

    assert levels("level>=warning") == ["warning", "error"]
    assert levels("level<ERROR") == ["debug", "warning"]
    assert levels("level:Warning,o*") == ["warning", "odd"]
    assert levels("level<debug") == []


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ("", Everything()),
        (" \n", Everything()),
        ("a", Word(Glob(("a",)))),
        ("a b or c", Or((And((Word(Glob(("a",))), Word(Glob(("b",))))), Word(Glob(("c",)))))),
        ("a and (b c)", And((Word(Glob(("a",))), Word(Glob(("b",))), Word(Glob(("c",)))))),
        ("-step:1", Not(NumberMatch("step", (1,)))),
        ("step:1..,*", NumberMatch("step", (Range(1, None), Range(None, None)))),
        ("dur>1ms", Comparison("dur", ">", 1_000_000)),
        ("type:MatMul", TextMatch("type", (Glob(("matmul",)),))),
        ('"or" orx', And((Word(Glob(("or",))), Word(Glob(("orx",)))))),
        ("(a)OR(b)", Or((Word(Glob(("a",))), Word(Glob(("b",)))))),
        ("a-b", Word(Glob(("a-b",)))),
        ("layer: a , b", TextMatch("layer", (Glob(("a",)), Glob(("b",))))),
    ],
)
def test_trees(query: str, tree: object) -> None:
    assert parse(query) == tree


@pytest.mark.parametrize(
    ("query", "printed"),
    [
        ("dur > 1000us", "dur>1ms"),
        ("bytes:1024KiB..2048KiB", "bytes:1MiB..2MiB"),
        ("((a) and b) or (c)", "a b or c"),
        ("-(a)", "-a"),
        ("-(a or b)", "-(a or b)"),
        ("layer:'a'", "layer:a"),
        ("layer:'a b'", 'layer:"a b"'),
        ("a[b]**", "a[bB]*"),
        ("'-x'", '"-x"'),
        ("'<x'", '"<x"'),
        ("'op:x'", '"op:x"'),
        ("op:':x','>x'", 'op:":x",">x"'),
    ],
)
def test_printed_queries_are_plain(query: str, printed: str) -> None:
    assert to_text(parse(query)) == printed


def test_nothing_of_the_text_becomes_sql() -> None:
    compiled = compile_query('layer:"x\' OR 1=1 --" op:"*y\'*z*" "word\'" or type:matmul')
    assert "'" not in compiled.sql.replace(", 's')", ")")
    assert "x' OR 1=1 --" in compiled.params
    assert compiled.sql.count("?") == len(compiled.params)


def test_empty_query_is_true() -> None:
    compiled = compile_query("")
    assert (compiled.sql, compiled.params) == ("TRUE", ())
