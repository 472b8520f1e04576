"""``sql``: what it writes, and that a statement reaches nothing but the views of its run."""

from __future__ import annotations

import csv
import io
import json
import signal
import stat
import subprocess
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from deepseek_prof.cli.app import build_app
from tests.support.drawn import module, op, write_drawn_run
from tests.support.recording import cli_command, environment
from tests.unit.cli.conftest import Cli

HOSTILE = (
    "[bold]markup[/bold]",
    "\x1b[31mred",
    "two\nlines",
    "=1+1",
    "it's; DROP VIEW spans; --",
    'a,"b"',
    "名前",
    "x" * 10_000,
)


@pytest.fixture(autouse=True)
def run_dir(here: Path) -> Path:
    """A run in a folder whose name holds what globs and SQL take for their own."""
    write_drawn_run(
        here / ".deepseek-prof/older",
        lambda rank, step: [op(name, 100 - index) for index, name in enumerate(HOSTILE)],
        info={"created_ns": 5},
    )
    folder = here / ".deepseek-prof/it's [a] *run?"
    return write_drawn_run(
        folder, lambda rank, step: (module("net", 2_000, op("aten::mm", 1_000)), op("aten::sum", 500)), steps=3
    )


def test_a_table(cli: Cli) -> None:
    result = cli("sql", "select name, sum(self_ns) as ns, null as n from spans where kind = 'op' group by 1 order by 1")
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["name", "ns", "n"],
        ["─" * len(result.stdout.splitlines()[1])],
        ["aten::mm", "3000", "NULL"],
        ["aten::sum", "1500", "NULL"],
        ["2", "rows"],
    ]


def test_a_table_that_is_too_wide_becomes_blocks(cli: Cli) -> None:
    wide = cli("sql", "select * from spans order by start_ns limit 1", columns=60).stdout
    assert wide.startswith("row 1\n  rank")
    assert (
        max(len(line) for line in cli("sql", "select name, layer from contexts", columns=40).stdout.splitlines()) <= 40
    )


def test_a_table_shows_as_many_rows_as_asked_for(cli: Cli) -> None:
    shown = cli("sql", "-n", "2", "select * from range(5)").stdout
    assert shown.splitlines()[-1] == "the first 2 rows; --limit 0 shows all"
    assert cli("sql", "-n", "0", "select * from range(500)").stdout.splitlines()[-1] == "500 rows"


def test_json_is_one_array_of_objects(cli: Cli) -> None:
    text = (
        "select 1 a, 2 a, 3 a_2, 1.5 d, 'nan'::double f, true b, null n, {'k': [1, 2]} s, map {3: 'x'} m, "
        "'ab'::blob x, date '2026-01-31' t, sum(9223372036854775807) h from range(2)"
    )
    result = cli("sql", "--format", "json", text)
    assert json.loads(result.stdout) == [
        {"a": 1, "a_3": 2, "a_2": 3, "d": 1.5, "f": None, "b": True, "n": None, "s": {"k": [1, 2]}, "m": {"3": "x"},
         "x": "6162", "t": "2026-01-31", "h": 18446744073709551614}
    ]  # fmt: skip
    assert json.loads(cli("sql", "--format", "json", "select 1 where false").stdout) == []
    assert len(json.loads(cli("sql", "--format", "json", "select * from range(25000)").stdout)) == 25_000


@pytest.mark.parametrize("name", HOSTILE)
def test_names_come_whole_in_data_and_safe_in_text(cli: Cli, name: str) -> None:
    rank = HOSTILE.index(name)
    statement = f"select name from spans where kind = 'op' order by start_ns limit 1 offset {rank}"
    assert json.loads(cli("sql", "older", "--format", "json", statement).stdout) == [{"name": name}]
    for how in ("table", "csv"):
        shown = cli("sql", "older", "--format", how, statement).stdout
        assert "\x1b" not in shown
        assert len(shown.splitlines()) == (4 if how == "table" else 2)
    cell = list(csv.reader(io.StringIO(shown)))[1][0]
    assert not cell.startswith("=")


def test_parquet_to_a_file_and_to_a_pipe(cli: Cli, here: Path) -> None:
    statement = "select step, sum(self_ns) as ns from spans where kind = 'op' group by step order by step"
    assert cli("sql", "--format", "parquet", "-o", "o.parquet", statement).exit_code == 0
    table = pq.read_table(here / "o.parquet")
    assert table.to_pydict() == {"step": [0, 1, 2], "ns": [1500, 1500, 1500]}
    assert str(table.schema.field("ns").type) == "int64"
    assert stat.S_IMODE((here / "o.parquet").stat().st_mode) & 0o077 != 0 or stat.S_IMODE(here.stat().st_mode) == 0o700
    piped = cli("sql", "--format", "parquet", statement).stdout_bytes
    assert piped == (here / "o.parquet").read_bytes()


def test_a_sum_that_needs_more_than_64_bits_is_refused_in_parquet(cli: Cli, here: Path) -> None:
    result = cli("sql", "--format", "parquet", "-o", "o.parquet", "select sum(9223372036854775807) h from range(2)")
    assert result.exit_code == 2
    assert "more than 64 bits" in result.stderr
    assert [path.name for path in here.iterdir()] == [".deepseek-prof"]


def test_a_statement_that_fails_leaves_the_file_as_it_was(cli: Cli, here: Path) -> None:
    (here / "o.csv").write_text("before")
    failing = "select case when range > 20000 then error('stop') else '' end from range(30000)"
    assert cli("sql", "--format", "csv", "-o", "o.csv", failing).exit_code == 2
    assert (here / "o.csv").read_text() == "before"
    assert cli("sql", "--format", "csv", "-o", "none/o.csv", "select 1").exit_code == 4
    assert cli("sql", "--format", "csv", "-o", "o.csv", "select 1 as one").exit_code == 0
    assert (here / "o.csv").read_text() == "one\n1\n"


def test_the_run_and_the_statement(cli: Cli) -> None:
    count = "select count(*) as n from contexts"
    latest = cli("sql", "--format", "csv", count).stdout
    assert cli("sql", "latest", "--format", "csv", count).stdout == latest
    assert cli("sql", "--run", "older", "--format", "csv", count).stdout != latest
    stdin = CliRunner().invoke(build_app(), ["sql", "--format", "csv", "-"], input=count)
    assert stdin.stdout == latest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["latest"], "Give a statement"),
        (["latest", "select", "1"], "in quotes"),
        (["nosuchrun", "select 1"], "No run called"),
        ([""], "empty"),
        (["-- nothing"], "No such option"),
        (["select nme from spans"], 'Candidate bindings: "name"'),
        (["selec 1"], "syntax error"),
        (["select * from spanz"], "spans"),
        (["select 1; select 2"], "one statement, not 2"),
        (["select ?"], "statement"),
        (["select a\0b"], "statement"),
        (["select now() as t"], "Cast it to TIMESTAMP"),
        (["select error('stop')"], "stop"),
        (["pivot spans on kind using sum(self_ns)"], "PIVOT needs its values"),
    ],
)
def test_errors_say_what_does_not_fit(cli: Cli, words: list[str], told: str) -> None:
    result = cli("sql", *words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_pivot_with_its_values_and_explain(cli: Cli) -> None:
    pivot = "select * from (select kind from spans) pivot (count(*) for kind in ('op', 'layer'))"
    assert json.loads(cli("sql", "--format", "json", pivot).stdout) == [{"op": 6, "layer": 3}]
    assert len(cli("sql", "explain analyze select name from spans").stdout.splitlines()) > 5
    assert len(json.loads(cli("sql", "--format", "json", "describe spans").stdout)) == 18


ATTACKS = (
    "from read_csv('{secret}')", "from '{secret}'", "from read_text('{secret}')", "from read_blob('{secret}')",
    "from read_json('{secret}')", "from glob('{folder}/*')", "from sniff_csv('{secret}')",
    "from read_text('{run}/run.json')",
    "from read_text('{run}/spans/rank=0/pid=4200/../../../../../secret.csv')", "from query_table('{secret}')",
    "from read_text('/proc/self/environ')", "from read_parquet('{secret}')", "from parquet_metadata('{secret}')",
    "from 'http://127.0.0.1:9/x.csv'", "select getenv('HOME')", "select * from query('copy (select 1) to ''{out}''')",
    "copy (select 1) to '{out}'", "copy spans to '{out}' (format parquet)", "copy (select 1) to '{part}'",
    "explain analyze copy (select 1) to '{part}'", "EXPLAIN\n analyze copy (select 1) to '{part}'",
    "explain /* x */ analyze copy (select 1) to '{part}'",
    "explain analyze explain analyze copy (select 1) to '{part}'",
    "with x as (select 1) copy (from x) to '{out}'",
    "attach '{out}' as other", "export database '{out}'", "import database '{folder}'", "install httpfs", "load httpfs",
    "set lock_configuration = false", "set enable_external_access = true", "reset enable_external_access",
    "set allowed_directories = ['/']", "set temp_directory = '{out}'", "pragma enable_profiling = 'json'",
    "from enable_logging(storage = 'file', storage_path = '{out}')", "call enable_logging(storage_path = '{out}')",
    "create table t as select 1", "create view v as select 1", "create macro f() as 1", "drop view spans",
    "insert into samples select * from samples", "delete from samples", "update samples set rank = 1",
    "create secret s (type s3)", "use memory", "checkpoint", "vacuum", "begin", "prepare p as select 1",
    "detach memory",
    "explain drop view spans", "select 1; copy (select 1) to '{out}'", "call force_checkpoint()",
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("how", ["json", "parquet"])
def test_attacks_are_refused_and_leave_no_trace(cli: Cli, here: Path, run_dir: Path, attack: str, how: str) -> None:
    secret = here / "secret.csv"
    secret.write_text("word\nswordfish\n")
    (part,) = (run_dir / "spans").rglob("part-*.parquet")
    places = {"secret": secret, "folder": here, "run": run_dir, "part": part, "out": here / "out"}
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    result = cli(
        "sql", "--format", how, attack.format(**{key: str(each).replace("'", "''") for key, each in places.items()})
    )
    assert result.exit_code == 2, result.output
    assert result.stdout_bytes == b""
    assert "swordfish" not in result.output
    assert "Traceback" not in result.output
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_damaged_file_is_named(cli: Cli, run_dir: Path) -> None:
    (part,) = (run_dir / "spans").rglob("part-*.parquet")
    data = bytearray(part.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[4:footer] = b"\xff" * (footer - 4)
    part.write_bytes(data)
    result = cli("sql", "select sum(self_ns), max(name) from spans")
    assert result.exit_code == 3
    assert part.name in result.stderr


def _another_thread_works(pid: int) -> bool:
    """Whether a thread but the main one has worked for half a second: a statement runs, and no import."""
    worked_s = [thread.user_time for thread in psutil.Process(pid).threads() if thread.id != pid]
    return max(worked_s, default=0.0) >= 0.5


def test_ctrl_c_ends_a_statement_at_once(here: Path) -> None:
    endless = "select count(*) from range(1000000000000) a, range(1000) b where a.range % 7 = b.range % 11"
    with subprocess.Popen(
        cli_command("sql", "--format", "csv", "-o", "o.csv", endless), cwd=here, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            while not _another_thread_works(process.pid) and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert stdout == b""
    assert b"Traceback" not in stderr
    assert [path.name for path in here.iterdir()] == [".deepseek-prof"]
