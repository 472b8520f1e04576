"""Records of both kinds in one stream, and ``deepseek-prof logs`` over them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deepseek_prof.analysis.logs import Selection, records
from deepseek_prof.cli.app import build_app
from deepseek_prof.query import Table, compile_tree, evaluate, parse
from deepseek_prof.trace.run import Run
from tests.unit.logs.conftest import HOSTILE, WriteEvents, line

MILLISECOND_NS = 1_000_000
QUERIES = (
    "",
    "type:matmul",
    "level>=warning",
    "level:warning or type:norm dur>1us",
    "step:1 -event:b",
    "phase:backward or event:a",
    "layer:*",
    "b",
)


def select(run: Run, query: str, limit: int | None = None, newest: bool = False) -> Selection:
    tree = parse(query)
    return Selection(compile_tree(tree), compile_tree(tree, Table.LOGS), limit=limit, newest=newest)


def command(*arguments: str) -> Result:
    result = CliRunner().invoke(build_app(), ["logs", *arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def with_events(run_dir: Path, write_events: WriteEvents) -> Path:
    """The run with four events among its spans."""
    write_events(
        line(0, "a", step=0, phase="forward", layer="encoder.0"),
        line(5 * MILLISECOND_NS, "b", level="warning", step=0, fields={"message": "slow", "dur_ns": 7}),
        line(20 * MILLISECOND_NS, "b", level="error", step=1),
        line(900 * MILLISECOND_NS, "z", step=2),
    )
    return run_dir


@pytest.mark.parametrize("query", QUERIES)
def test_the_stream_holds_what_the_query_selects_from_both_views(with_events: Path, query: str) -> None:
    tree = parse(query)
    with Run.open(with_events) as run:
        found = list(records(run, select(run, query)))
        expected = 0
        for table in Table:
            cursor = run.connection.execute(f"SELECT * FROM {table.value}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            expected += sum(evaluate(tree, row, table) for row in rows)
    assert len(found) == expected
    assert [record.ts_ns for record in found] == sorted(record.ts_ns for record in found)


def test_a_limit_takes_the_earliest_or_the_latest_of_both_kinds(with_events: Path) -> None:
    with Run.open(with_events) as run:
        everything = list(records(run, select(run, "")))
        assert list(records(run, select(run, "", 25))) == everything[:25]
        latest = list(records(run, select(run, "", 25, newest=True)))
    assert [record.ts_ns for record in latest] == [record.ts_ns for record in everything[-25:]]
    assert everything[0].is_event, "where times are equal, events come first"


def test_json_is_one_object_a_line(with_events: Path) -> None:
    lines = command(str(with_events), "event:b or op:addmm", "--format", "json", "--limit", "0").stdout.splitlines()
    rows = [json.loads(each) for each in lines]
    events = [row for row in rows if "event" in row]
    assert [row["event"] for row in events] == ["b", "b"]
    assert events[0]["fields"] == {"message": "slow", "dur_ns": 7}
    operators = [row for row in rows if "event" not in row]
    assert operators
    for row in operators:
        assert {"op", "type", "layer", "phase", "step", "rank", "dur_ns", "self_ns", "tid"} <= set(row)


def test_fields_choose_columns_also_out_of_an_events_own(with_events: Path) -> None:
    result = command(str(with_events), "event:b", "--format", "json", "--fields", "event,dur_ns,message,nothing,thread")
    first = json.loads(result.stdout.splitlines()[0])
    assert first == {"event": "b", "dur_ns": None, "message": "slow", "nothing": None, "thread": None}


def test_csv_has_the_same_columns_in_every_row(with_events: Path) -> None:
    rows = list(csv.reader(io.StringIO(command(str(with_events), "--format", "csv", "--limit", "0").stdout)))
    assert rows[0][:3] == ["ts_ns", "rank", "pid"]
    assert {len(row) for row in rows} == {len(rows[0])}
    with Run.open(with_events) as run:
        count = run.rows("SELECT (SELECT count(*) FROM spans) + (SELECT count(*) FROM logs)")[0][0]
    assert len(rows) == count + 1


def test_since_step(with_events: Path) -> None:
    lines = command(str(with_events), "--since-step", "2", "--format", "json", "--limit", "0").stdout.splitlines()
    assert {json.loads(each)["step"] for each in lines} == {2}


def test_a_cut_off_list_says_so_and_an_asked_for_limit_does_not(with_events: Path) -> None:
    assert "--limit 0" in command(str(with_events)).stderr
    assert command(str(with_events), "--limit", "5").stderr == ""


@pytest.mark.parametrize("output_format", ["console", "json", "csv", "logfmt"])
def test_hostile_names_are_escaped(run_dir: Path, write_events: WriteEvents, output_format: str) -> None:
    write_events(
        *(line(number, name, layer=name, fields={name: name, "message": name}) for number, name in enumerate(HOSTILE))
    )
    result = command(str(run_dir), "--query", "event:*", "--format", output_format)
    lines = result.stdout.removesuffix("\n").split("\n")
    assert len(lines) == len(HOSTILE) + (output_format == "csv")
    assert all(char.isprintable() for each in lines for char in each)
    assert any("markup" in each for each in lines)


def test_explain_shows_tree_and_sql_and_needs_no_run() -> None:
    text = command("--explain", 'type:matmul or level:warning -layer:"x\' OR 1=1"').stdout
    assert "type:matmul" in text
    assert "type IN (?)" in text
    assert "level IN (?)" in text
    sql = [each for each in text.splitlines() if each.startswith(("spans:", "logs:"))]
    assert len(sql) == 2
    assert not any("1=1" in each for each in sql)


def test_an_error_in_the_query_is_told_before_the_run_is_read(with_events: Path) -> None:
    result = CliRunner().invoke(build_app(), ["logs", str(with_events), "layr:x"])
    assert result.exit_code == 2
    assert 'did you mean "layer"' in result.stderr
