"""docs/query.md: every example selects something, every field, unit and choice is named, the error is what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from deepseek_prof.errors import QueryError
from deepseek_prof.query import FIELDS, Table, compile_query, evaluate, parse
from deepseek_prof.query.units import SIZE_UNITS, TIME_UNITS
from deepseek_prof.trace.run import Run
from tests.support.synthetic import write_synthetic_run

DOCUMENT = (Path(__file__).parents[3] / "docs" / "query.md").read_text(encoding="utf-8")

NO_SPAN = dict.fromkeys(("step", "layer", "device", "stream", "bytes", "flops"))
SPAN: dict[str, Any] = {
    **NO_SPAN,
    "rank": 0,
    "pid": 4200,
    "tid": 4200,
    "phase": "forward",
    "kind": "op",
    "name": "aten::copy_",
    "type": "copy",
    "start_ns": 0,
    "dur_ns": 10,
    "self_ns": 10,
}
KERNEL = {"kind": "kernel", "device": "cuda:0", "stream": 7, "tid": 4243}
DEVICE_SPANS: list[dict[str, Any]] = [
    SPAN,
    SPAN | KERNEL | {"name": "void at::native::reduce<float, 4>(int)", "dur_ns": 2_000_000},
    SPAN | KERNEL | {"name": "ampere_sgemm", "device": "cuda:1", "flops": 2 * 10**9},
    SPAN | {"kind": "memcpy", "name": "Memcpy HtoD", "bytes": 64 << 20},
    SPAN | {"kind": "memcpy", "name": "Memcpy HtoD", "bytes": (64 << 20) - 1},
]
LOG: dict[str, Any] = {
    "ts_ns": 0,
    "rank": 0,
    "level": "info",
    "event": "log",
    "step": None,
    "phase": None,
    "layer": None,
    "op": None,
    "fields": "{}",
}
LOGS: list[dict[str, Any]] = [
    LOG,
    LOG | {"level": "warning", "event": "recompile"},
    LOG | {"event": "slow_step", "step": 3},
    LOG | {"level": "error", "layer": "encoder.0", "event": "oom"},
    LOG | {"level": "critical", "layer": "head"},
    LOG | {"step": 12, "fields": '{"message": "Epoch done, accuracy 0.93"}'},
    LOG | {"step": 9, "fields": '{"message": "accuracy 0.2"}'},
]


def examples(after: str) -> list[str]:
    """The first column of the table that follows a line."""
    table = DOCUMENT[DOCUMENT.index(after) :].split("| --- | --- |\n", 1)[1]
    return re.findall(r"^\| `(.*?)` \| .* \|$", table.split("\n\n", 1)[0], re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    path = tmp_path_factory.mktemp("query") / "run"
    write_synthetic_run(path, steps=24, layers=4, ranks=2)
    with Run.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def spans(run: Run) -> list[dict[str, Any]]:
    """The rows of the run's ``spans`` view."""
    found = run.connection.execute("SELECT * FROM spans")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def table_of(rows: list[dict[str, Any]], name: str) -> duckdb.DuckDBPyConnection:
    """A database with one table of these rows."""
    connection = duckdb.connect(":memory:")
    kinds = {column: "BIGINT" for row in rows for column, value in row.items() if isinstance(value, int)}
    columns = ", ".join(f"{key} {kinds.get(key, 'VARCHAR')}" for key in rows[0])
    connection.execute(f"CREATE TABLE {name} ({columns})")
    connection.executemany(
        f"INSERT INTO {name} VALUES ({', '.join('?' for _ in rows[0])})",
        [[row[key] for key in rows[0]] for row in rows],
    )
    return connection


@pytest.mark.parametrize("query", examples("## Examples"))
def test_example_selects_a_part_of_a_run(query: str, run: Run, spans: list[dict[str, Any]]) -> None:
    compiled = compile_query(query)
    ((count,),) = run.rows(f"SELECT count(*) FROM spans WHERE {compiled.sql}", compiled.params)
    first_ns = min(row["start_ns"] for row in spans)
    tree = parse(query)
    assert count == sum(evaluate(tree, row, origin_ns=first_ns) for row in spans)
    assert 0 < count < len(spans)


@pytest.mark.parametrize(
    ("query", "table", "rows"),
    [(query, Table.SPANS, DEVICE_SPANS) for query in examples("On runs with a GPU")]
    + [(query, Table.LOGS, LOGS) for query in examples("On log records:")],
)
def test_example_of_devices_and_logs_selects_a_part(query: str, table: Table, rows: list[dict[str, Any]]) -> None:
    compiled = compile_query(query, table)
    with table_of(rows, table.value) as connection:
        found = connection.execute(
            f"SELECT count(*) FROM {table.value} WHERE {compiled.sql}", list(compiled.params)
        ).fetchone()
    assert found == (sum(evaluate(parse(query), row, table) for row in rows),)
    assert 0 < found[0] < len(rows)


def test_documented_examples_are_more_than_twenty_and_cover_every_field() -> None:
    queries = [query for place in ("## Examples", "On runs with a GPU", "On log records:") for query in examples(place)]
    assert len(examples("## Examples")) >= 20
    assert set(FIELDS) <= {name for query in queries for name in re.findall(r"\b([a-z]+)(?=[:<>])", query)}


def test_every_field_has_a_row_with_its_type_and_choices() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+ \| .*) \|$", DOCUMENT, re.MULTILINE))
    assert list(rows) == list(FIELDS)
    for field in FIELDS.values():
        assert rows[field.name].startswith(f"{field.type.value} | ")
        assert set(field.choices) <= set(re.findall(r"`(.*?)`", rows[field.name]))


@pytest.mark.parametrize("table", Table)
def test_sentence_names_the_fields_that_each_view_lacks(table: Table) -> None:
    sentence = DOCUMENT[DOCUMENT.index("Spans have neither") :].split(". Where", 1)[0]
    of_spans, rest = sentence.split("log records no")
    of_logs, rest = rest.split("(`top --by python`)")
    of_samples, of_allocations = rest.split("allocations (`memory`) have no")
    of_allocations = of_allocations.split(", and their", 1)[0]
    lacks = {
        Table.SPANS: of_spans,
        Table.LOGS: of_logs,
        Table.SAMPLES: of_samples,
        Table.ALLOCATIONS: of_allocations,
    }
    lacking = {field.name for field in FIELDS.values() if field.column(table) is None}
    assert set(re.findall(r"`(\w+)`", lacks[table])) == lacking


def test_units_are_documented() -> None:
    section = DOCUMENT[DOCUMENT.index("## Numbers") : DOCUMENT.index("## Examples")]
    assert {*TIME_UNITS, *SIZE_UNITS} <= set(re.findall(r"`(\w+)`", section))


def test_shown_error_is_the_one_that_is_raised() -> None:
    shown = DOCUMENT[DOCUMENT.index("## Errors") :].split("```\n")[1]
    with pytest.raises(QueryError) as caught:
        parse("type:conv layr:layer3.*")
    assert f"deepseek-prof: {caught.value}\n" == shown
