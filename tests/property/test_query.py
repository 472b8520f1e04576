"""What must hold for every query: it survives printing, and SQL and Python agree on what it selects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepseek_prof.errors import QueryError
from deepseek_prof.query import (
    CompiledQuery,
    Table,
    compile_query,
    compile_tree,
    evaluate,
    explain,
    parse,
    quoted,
    to_text,
)
from deepseek_prof.query.tree import Node, TextMatch
from tests.property.query_strategies import ALPHABET, aimed_rows, clauses, names, trees, words

TYPES = {
    "rank": "INTEGER",
    "step": "INTEGER",
    "stream": "INTEGER",
    **dict.fromkeys(("pid", "tid", "start_ns", "dur_ns", "self_ns", "bytes", "flops", "ts_ns"), "BIGINT"),
}
ORIGIN_NS = 1_790_000_000_000_000_000
FRAGMENTS = (
    *(
        "op:",
        "dur>",
        "step:",
        "type:",
        "bytes<=",
        "level>=",
        "(",
        ")",
        "-",
        ",",
        '"',
        "'",
        "or",
        "and",
        "not",
        "*",
        "[",
    ),
    *("]", "\\", "..", "1e400", "10", "ms", "matmul", " ", "\x00", "\x1b[31m", "'; DROP TABLE spans; --", "%", "$1"),
    *("?", ":", "::", "\ud800", "漢", "a" * 200),
)
hostile_texts = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from(ALPHABET + "or<>=é "), max_size=40),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory."""
    with duckdb.connect(":memory:", config={"threads": "1"}) as opened:
        yield opened


def selected(
    connection: duckdb.DuckDBPyConnection, tree: Node, rows: list[dict[str, Any]], table: Table, origin_ns: int | None
) -> list[int]:
    """The numbers of the rows that the compiled tree selects."""
    columns = ", ".join(f'"{name}" {TYPES.get(name, "VARCHAR")}' for name in rows[0])
    connection.execute(f"CREATE OR REPLACE TABLE {table.value} (number INTEGER, {columns})")
    if "start_ns" in rows[0] and table is Table.SPANS:
        connection.execute("CREATE OR REPLACE VIEW raw_spans AS SELECT start_ns FROM spans")
    marks = ", ".join("?" for _ in range(len(rows[0]) + 1))
    connection.executemany(
        f"INSERT INTO {table.value} VALUES ({marks})",
        [[number, *(row[name] for name in rows[0])] for number, row in enumerate(rows)],
    )
    compiled = compile_tree(tree, table, origin_ns=origin_ns)
    found = connection.execute(
        f"SELECT number FROM {table.value} WHERE {compiled.sql} ORDER BY number", list(compiled.params)
    ).fetchall()
    return [number for (number,) in found]


@given(trees)
def test_printed_tree_parses_to_the_same_tree(tree: Node) -> None:
    assert parse(to_text(tree)) == tree


@given(trees)
def test_shape_of_a_tree_can_be_shown(tree: Node) -> None:
    assert explain(tree)


@settings(max_examples=300, deadline=None)
@given(tree=st.one_of(clauses(), words, trees), data=st.data())
def test_sql_selects_the_spans_that_python_selects(
    connection: duckdb.DuckDBPyConnection, tree: Node, data: st.DataObject
) -> None:
    rows = data.draw(aimed_rows(tree, Table.SPANS))
    first_ns = min(row["start_ns"] for row in rows)
    expected = [number for number, row in enumerate(rows) if evaluate(tree, row, origin_ns=first_ns)]
    assert selected(connection, tree, rows, Table.SPANS, None) == expected


@settings(max_examples=300, deadline=None)
@given(tree=st.one_of(clauses(), words, trees), data=st.data())
def test_sql_selects_the_log_records_that_python_selects(
    connection: duckdb.DuckDBPyConnection, tree: Node, data: st.DataObject
) -> None:
    rows = data.draw(aimed_rows(tree, Table.LOGS))
    for row in rows:
        row["ts_ns"] = ORIGIN_NS + row["ts_ns"] % 10**12
    stored = [
        row | {"fields": json.dumps(row["fields"]) if isinstance(row["fields"], dict) else row["fields"]}
        for row in rows
    ]
    expected = [number for number, row in enumerate(rows) if evaluate(tree, row, Table.LOGS, origin_ns=ORIGIN_NS)]
    assert [
        number for number, row in enumerate(stored) if evaluate(tree, row, Table.LOGS, origin_ns=ORIGIN_NS)
    ] == expected
    assert selected(connection, tree, stored, Table.LOGS, ORIGIN_NS) == expected


@settings(deadline=None)
@given(name=names, others=st.lists(names, max_size=4))
def test_quoted_name_selects_that_name_alone(
    connection: duckdb.DuckDBPyConnection, name: str, others: list[str]
) -> None:
    tree = parse(f"device:{quoted(name)}")
    assert isinstance(tree, TextMatch)
    rows = [{"device": each} for each in (name, *others)]
    expected = [number for number, row in enumerate(rows) if row["device"] == name]
    assert selected(connection, tree, rows, Table.SPANS, None) == expected


@settings(max_examples=500, deadline=None)
@given(text=hostile_texts)
def test_hostile_text_gives_an_error_of_ours_or_a_condition_without_it(
    connection: duckdb.DuckDBPyConnection, text: str
) -> None:
    found: CompiledQuery | QueryError
    try:
        found = compile_query(text)
    except QueryError as error:
        found = error
    if isinstance(found, QueryError):
        assert 0 <= found.start <= len(text)
        assert all(char.isprintable() or char == "\n" for char in str(found))
        return
    connection.execute(
        "CREATE OR REPLACE TABLE spans AS SELECT 'a' AS name, 'matmul' AS type, 'b' AS layer, 'data' AS phase,"
        " 'op' AS kind, 0 AS rank, 1 AS pid, 2 AS tid, 3 AS step, 4 AS start_ns, 5 AS dur_ns, 6 AS self_ns,"
        " 'cpu' AS device, 7 AS stream, 8 AS bytes, 9 AS flops"
    )
    connection.execute("CREATE OR REPLACE VIEW raw_spans AS SELECT start_ns FROM spans")
    connection.execute(f"SELECT count(*) FROM spans WHERE {found.sql}", list(found.params))
    assert found.sql.count("?") == len(found.params)
    assert connection.execute("SELECT count(*) FROM spans").fetchone() == (1,)
