"""``diff`` on the command line: table, JSON, arguments, and names that are not what they seem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.drawn import module, op, write_drawn_run
from tests.unit.cli.conftest import Cli

HOSTILE = "[bold]\x1b[31mx\n[/bold]"


@pytest.fixture(autouse=True)
def runs(here: Path) -> None:
    """Runs of 20 steps: ``a``, a slower ``b`` with another layer, and ``whole`` without steps."""
    root = here / ".deepseek-prof"
    write_drawn_run(
        root / "a",
        lambda rank, step: [module("net", 90_000 + step, op("aten::mm", 50_000 + step)), op("aten::sum", 5_000)],
        steps=20,
    )
    write_drawn_run(
        root / "b",
        lambda rank, step: [module("net", 90_000, op("aten::mm", 80_000 + step)), module(HOSTILE, 10_000)],
        steps=20,
        info={"name": "after [red]\x1b[0m"},
    )
    write_drawn_run(root / "whole", lambda rank, step: [op("aten::mm", 50_000)], with_steps=False)


def test_a_table(cli: Cli) -> None:
    result = cli("diff", "a", "b", "--by", "op", columns=100)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "a → after [red]\\x1b[0m by op, mean step (20 steps and 20 steps)"
    rows = {line.split("  ")[0]: line for line in lines[3:]}
    assert rows["aten::mm"].split()[-1] == "slower"
    assert "+30.0 µs" in rows["aten::mm"]
    assert "1.60×" in rows["aten::mm"]
    assert rows["aten::sum"].split()[1:] == ["5.00", "µs", "-5.00", "µs", "removed"]
    assert rows["all spans"].split()[-1] == "slower"
    assert "the step itself" in rows
    assert "warm-up left out: 0 and 0 steps" in result.stdout


def test_names_are_shown_as_data(cli: Cli) -> None:
    shown = cli("diff", "a", "b").stdout
    assert "[bold]\\x1b[31mx\\n[/bold]" in shown
    assert "\x1b" not in shown
    found = json.loads(cli("diff", "a", "b", "--format", "json").stdout)
    assert HOSTILE in {row["name"] for row in found if row["verdict"] == "added"}


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_table_fits(cli: Cli, columns: int) -> None:
    result = cli("diff", "a", "b", columns=columns)
    assert max(len(line) for line in result.stdout.splitlines()) <= max(columns, 62)


def test_json_is_one_array_with_the_step_and_the_total_first(cli: Cli) -> None:
    found = json.loads(cli("diff", "a", "b", "--format", "json", "-n", "1").stdout)
    assert [row["row"] for row in found] == ["step", "total", "entry"]
    whole = json.loads(cli("diff", "whole", "whole", "--format", "json").stdout)
    assert [(row["row"], row["verdict"], row["before_steps"]) for row in whole] == [
        ("total", "unknown", 0),
        ("entry", "unknown", 0),
    ]


def test_what_did_not_change_can_be_left_out(cli: Cli) -> None:
    found = json.loads(cli("diff", "a", "a", "--changed", "--format", "json").stdout)
    assert [row["row"] for row in found] == ["step", "total"]


def test_the_least_change(cli: Cli) -> None:
    def verdict(percent: str) -> str:
        text = cli("diff", "a", "b", "op:aten::mm", "--by", "op", "--min-change", percent, "--format", "json").stdout
        return str(json.loads(text)[-1]["verdict"])

    assert (verdict("0%"), verdict("59 %"), verdict("61%")) == ("slower", "slower", "inconclusive")


def test_a_query_may_begin_with_a_dash(cli: Cli) -> None:
    for words in (("-op:aten::mm",), ("--query", "-op:aten::mm")):
        found = json.loads(cli("diff", "a", "b", "--by", "op", "--format", "json", *words).stdout)
        assert "aten::mm" not in {row["name"] for row in found}


def test_runs_without_steps_are_told(cli: Cli) -> None:
    shown = cli("diff", "whole", "whole", columns=160).stdout
    assert "whole recording (no steps and no steps)" in shown
    assert "how much they vary is not known" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a"], "Give two runs"),
        (["a", "nosuchrun"], "No run called"),
        (["a", "b", "layr:x"], "did you mean"),
        (["a", "b", "op:x", "--query", "op:y"], "query once"),
        (["a", "b", "--min-change", "5"], "not a percentage"),
        (["a", "b", "--by", "step"], "--by"),
    ],
)
def test_errors_say_what_does_not_fit(cli: Cli, words: list[str], told: str) -> None:
    result = cli("diff", *words)
    assert result.exit_code == 2, result.output
    assert told.lower() in result.stderr.lower()
