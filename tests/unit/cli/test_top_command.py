"""``top`` on the command line: formats, sorting, limits, and names that are not what they seem."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from pathlib import Path

import pytest
from rich.cells import cell_len

from deepseek_prof.analysis.results import TopRow
from deepseek_prof.analysis.top import BY
from tests.support.drawn import module, op, write_drawn_run
from tests.unit.cli.conftest import Cli

HOSTILE = (
    "[bold red]markup[/bold red]",
    "[/]",
    "\x1b[31mred\x1b[0m",
    "two\nlines",
    "=1+1",
    "it's; DROP VIEW spans; --",
    'a,"b"',
    "名前",
)


@pytest.fixture(autouse=True)
def runs(here: Path) -> None:
    """A run with ordinary names, and an older one with hostile ones."""
    write_drawn_run(
        here / ".deepseek-prof/hostile",
        lambda rank, step: [op(name, 100 - index, layer=name) for index, name in enumerate(HOSTILE)],
        info={"created_ns": 5},
    )
    write_drawn_run(
        here / ".deepseek-prof/train",
        lambda rank, step: (
            module("net", 2_000, op("aten::mm", 1_000), op("aten::relu", 100), op("aten::relu", 100)),
            op("aten::sum", 500),
        ),
        steps=4,
    )


def test_a_table(cli: Cli) -> None:
    result = cli("top")
    lines = result.stdout.splitlines()
    assert lines[0] == "train by op, self first"
    assert lines[1].split()[:6] == ["op", "type", "self", "share", "total", "count"]
    assert [line.split()[0] for line in lines[3:6]] == ["aten::mm", "aten::sum", "aten::relu"]
    assert "matmul" in lines[3]
    assert "4.00 µs" in lines[3]
    assert lines[-1] == "3 of 3 rows · 20 spans · 10.0 µs of self time"
    assert result.stderr == ""


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("run", ["train", "hostile"])
def test_every_table_fits_its_width_without_trailing_blanks(cli: Cli, run: str, by: str, columns: int) -> None:
    lines = cli("top", run, "--by", by, columns=columns).stdout.splitlines()
    table = lines[1:-1]
    if columns >= 40:
        assert max(cell_len(line) for line in table) <= columns
    assert all(line == line.rstrip() for line in lines)


def test_sort_and_limit(cli: Cli) -> None:
    lines = cli("top", "--sort", "count", "-n", "1").stdout.splitlines()
    assert lines[0] == "train by op, count first"
    assert lines[3].split()[0] == "aten::relu"
    assert lines[-1].startswith("1 of 3 rows")
    assert len(cli("top", "--limit", "0", "--format", "csv").stdout.splitlines()) == 4


def test_a_query_is_shown(cli: Cli) -> None:
    lines = cli("top", "type:matmul").stdout.splitlines()
    assert lines[0] == "train by op, self first, where type:matmul"
    assert lines[3].split()[0] == "aten::mm"
    assert len(lines) == 5


def test_a_blank_query_is_none(cli: Cli) -> None:
    for words in (("top", "train", " "), ("top", "--query", "  ")):
        assert cli(*words).stdout == cli("top").stdout
    assert "where" not in cli("report", " ").stdout.splitlines()[0]
    assert "where" not in cli("diff", "train", "train", " ").stdout.splitlines()[0]


def test_nothing_selected(cli: Cli) -> None:
    assert cli("top", "op:nothing").stdout.splitlines()[1] == "Nothing selected."
    assert json.loads(cli("top", "op:nothing", "--format", "json").stdout) == []
    assert len(cli("top", "op:nothing", "--format", "csv").stdout.splitlines()) == 1


@pytest.mark.parametrize("by", BY)
def test_json_has_the_fields_of_a_row(cli: Cli, by: str) -> None:
    rows = json.loads(cli("top", "--by", by, "--format", "json").stdout)
    assert rows
    assert all(list(row) == [field.name for field in fields(TopRow)] for row in rows)
    assert all(isinstance(row["self_ns"], int) for row in rows)


def test_csv_and_json_say_the_same(cli: Cli) -> None:
    from_csv = list(csv.DictReader(io.StringIO(cli("top", "--format", "csv").stdout)))
    from_json = json.loads(cli("top", "--format", "json").stdout)
    assert [{key: str(value) for key, value in row.items()} for row in from_json] == from_csv


def test_hostile_names_are_shown_as_they_are_and_do_nothing(cli: Cli) -> None:
    result = cli("top", "hostile", columns=160)
    assert "\x1b" not in result.stdout
    for text in ("[bold red]markup[/bold red]", "[/]", r"\x1b[31mred\x1b[0m", r"two\nlines", "it's; DROP VIEW", "名前"):
        assert text in result.stdout
    assert len(result.stdout.splitlines()) == 3 + len(HOSTILE) + 1


def test_hostile_names_in_json_are_exact(cli: Cli) -> None:
    result = cli("top", "hostile", "--format", "json")
    assert [row["name"] for row in json.loads(result.stdout)] == list(HOSTILE)
    assert "\x1b" not in result.stdout


def test_hostile_names_in_csv_are_one_line_each_and_no_formula(cli: Cli) -> None:
    text = cli("top", "hostile", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(text.splitlines()) == 1 + len(HOSTILE)
    assert "\x1b" not in text
    names = [row["name"] for row in rows]
    assert "'=1+1" in names
    assert 'a,"b"' in names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--by", "colour"), "colour"),
        (("--sort", "name"), "name"),
        (("--limit", "-1"), "--limit"),
        (("--format", "xml"), "xml"),
        (("--run", "nothing"), "No run called 'nothing'"),
        (("op:[",), "not closed"),
        (("a", "--query", "b"), "Give the query once"),
    ],
)
def test_what_does_not_fit_ends_with_status_2_and_a_message(cli: Cli, words: tuple[str, ...], message: str) -> None:
    result = cli("top", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr
