"""``report``: the verdict first, every section there, at any width, in a pipe, as JSON, and of odd runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.support.drawn import PID, Node, gap, module, op, write_drawn_run
from tests.support.synthetic import write_synthetic_run
from tests.unit.cli.conftest import Cli

SECTIONS = ["Verdict", "Why", "Next", "Steps", "Phases", "Operator types", "Operators", "Layers", "Data wait", "Memory"]
SECTIONS += ["Threads", "Own cost", "Findings", "Try next"]
ESCAPE = "\x1b"


@pytest.fixture
def train(here: Path) -> Path:
    """A training run of two layers' transformer, with everything in it."""
    path = here / ".deepseek-prof" / "train"
    write_synthetic_run(path, steps=30, layers=2, slow={20: 3.0})
    return path


def _positions(text: str, titles: list[str]) -> list[int]:
    found = [re.search(rf"^{re.escape(title)}\b", text, re.MULTILINE) for title in titles]
    assert None not in found, [title for title, match in zip(titles, found, strict=True) if match is None]
    return [match.start() for match in found if match is not None]


def test_the_verdict_comes_first_and_every_section_in_its_order(cli: Cli, train: Path) -> None:
    result = cli("report")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Run train  train.py · finished · torch 2.13.0")
    positions = _positions(result.stdout, SECTIONS)
    assert positions == sorted(positions)


def test_the_figures_of_a_drawn_run(cli: Cli, here: Path) -> None:
    def draw(rank: int, step: int) -> tuple[Node, ...]:
        node = Node("MmBackward0", 500_000, "autograd", "backward", "net", below=("net",))
        return (
            module("net", 300_000, op("aten::mm", 200_000)),
            Node("backward", 600_000, "phase", "backward", children=(node,)),
            gap(100_000),
        )

    write_drawn_run(here / ".deepseek-prof" / "run", draw, steps=10)
    text = cli("report", columns=100).stdout
    assert "Steps  10 recorded\n  median 1.00 ms   p90 1.00 ms   p99 1.00 ms   max 1.00 ms   1,000 steps/s\n" in text
    assert re.search(r"Phases  of 1\.00 ms per step\n  forward +█+ +30 % +300 µs\n  backward +█+ +60 % +600 µs\n", text)
    assert re.search(r"  outside PyTorch +█+\S* +10 % +100 µs\n", text)
    assert re.search(r"^  aten::mm +200 µs +29 % +200 µs +200 µs +0 +1$", text, re.MULTILINE)
    assert re.search(r"^  net +800 µs +89 % +800 µs +300 µs +500 µs +1$", text, re.MULTILINE)
    assert f"thread {PID} (drives the steps): 9.00 ms in 40 spans" in text


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_it_fits_its_width_and_a_pipe_gets_no_colour(cli: Cli, train: Path, columns: int) -> None:
    text = cli("report", columns=columns).stdout
    body = text[: text.index("Try next")]  # commands are not broken: they are there to be copied
    assert max(cell_len(line) for line in body.splitlines()) <= columns
    assert all(line == line.rstrip() for line in text.splitlines())
    assert ESCAPE not in text


def test_more_room_shows_more_columns_and_whole_names(cli: Cli, train: Path) -> None:
    name = "aten::_scaled_dot_product_flash_attention_for_cpu_backward"
    narrow, wide = cli("report", columns=80).stdout, cli("report", columns=200).stdout
    assert name not in narrow
    assert name in wide


def test_the_commands_to_try_next_work(cli: Cli, train: Path) -> None:
    text = cli("report", columns=120).stdout
    commands = re.findall(r"^  deepseek-prof (.+?)(?:  .*)?$", text[text.index("Try next") :], re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert cli(*command.split()).exit_code == 0


def test_the_commands_to_try_next_name_a_run_that_is_not_the_latest(cli: Cli, here: Path) -> None:
    write_drawn_run(here / "else where" / "run", lambda rank, step: (op("aten::mm", 5),))
    text = cli("report", "else where/run", columns=200).stdout
    assert "deepseek-prof top 'else where/run' --by op" in text


def test_json_is_valid_and_its_keys_stable(cli: Cli, train: Path) -> None:
    content = json.loads(cli("report", "--format", "json").stdout)
    assert list(content) == ["run", "verdict", "summary", "metrics", "quality", "findings"]
    assert list(content["verdict"]) == ["bound", "headline", "why", "next"]
    keys = (
        "span_count ranks filtered window wall_ns self_ns op_count op_self_ns steps phases types ops layers data_wait"
    )
    assert set(keys.split()) | {"memory", "threads", "overhead", "dropped"} <= set(content["summary"])
    assert content["summary"]["steps"]["recorded"] == 30
    assert content["run"]["path"] == str(train)
    assert {"rule", "title", "evidence", "gain_low", "gain_high", "advice", "severity"} <= set(content["findings"][0])


def test_json_of_an_empty_run_has_the_same_keys(cli: Cli, train: Path, here: Path) -> None:
    write_drawn_run(here / "empty", steps=0)
    full = json.loads(cli("report", "--format", "json").stdout)
    empty = json.loads(cli("report", "empty", "--format", "json").stdout)
    assert [list(full[key]) for key in ("run", "verdict", "summary")] == [
        list(empty[key]) for key in ("run", "verdict", "summary")
    ]


def test_a_query_narrows_the_tables_and_judges_nothing(cli: Cli, train: Path) -> None:
    text = cli("report", "type:matmul", "phase:backward", columns=120).stdout
    assert "where type:matmul phase:backward" in text
    assert "Verdict" not in text
    assert "Findings" not in text
    assert "aten::mm" in text
    assert "aten::gelu" not in text
    assert json.loads(cli("report", "type:matmul", "--format", "json").stdout)["verdict"] is None
    assert "The query selects nothing." in cli("report", "op:nothing").stdout


def test_a_run_without_spans(cli: Cli, here: Path) -> None:
    """As of a program that never imported torch."""
    write_drawn_run(here / ".deepseek-prof" / "run", steps=0, info={"processes": [], "exit_code": 7})
    result = cli("report")
    assert result.exit_code == 0
    assert "exit status 7" in result.stdout
    assert "Verdict  Nothing to judge: no PyTorch operator was recorded." in result.stdout
    assert "deepseek-prof doctor" in result.stdout
    assert "Findings" not in result.stdout


def test_a_run_without_steps_and_layers(cli: Cli, here: Path) -> None:
    write_drawn_run(here / ".deepseek-prof" / "run", lambda rank, step: (op("aten::mm", 5_000),), with_steps=False)
    text = cli("report").stdout
    assert "Steps  none found: no optimizer step and no repeated call of a root module" in text
    assert "Layers  none: no module was called, or layers were not recorded" in text
    assert "per step" not in text


def test_a_run_that_is_still_recorded_and_one_that_was_killed_say_so(cli: Cli, here: Path) -> None:
    write_drawn_run(here / "running", lambda rank, step: (op("aten::mm", 5),), info={"status": "running"})
    write_drawn_run(here / "killed", lambda rank, step: (op("aten::mm", 5),), info={"signal": 9, "exit_code": None})
    assert "running" in cli("report", "running").stdout.splitlines()[0]
    assert "killed by signal 9" in cli("report", "killed").stdout.splitlines()[0]


def test_what_is_missing_is_said(cli: Cli, here: Path) -> None:
    write_synthetic_run(here / "run", steps=30, layers=1, evicted_steps=10, info={"warnings": ["the disk was full"]})
    text = cli("report", "run", columns=120).stdout
    assert "Raw spans are kept from step 11 on (--max-size): the tables cover those." in text
    assert re.search(rf"^Dropped +[\d,]+ spans of process {PID}: max-size$", text, re.MULTILINE)
    assert re.search(r"^Warnings +the disk was full$", text, re.MULTILINE)


def test_ranks_are_told(cli: Cli, here: Path) -> None:
    write_synthetic_run(here / "run", steps=12, layers=1, ranks=2)
    text = cli("report", "run", columns=120).stdout
    assert "24 recorded on 2 ranks" in text
    assert "rank 0: resident peak" in text
    assert "rank 1: resident peak" in text


@pytest.mark.parametrize("columns", [60, 120])
def test_hostile_names_do_nothing(cli: Cli, here: Path, columns: int) -> None:
    names = (
        "[bold]",
        "[/]",
        f"{ESCAPE}]0;title\x07",
        "two\nlines",
        "'; DROP VIEW spans; --",
        "right\u202eleft",
        "x" * 5000,
    )
    draw = [module(f"{name}.m", 50_000, op(name, 40_000)) for name in names]
    info: dict[str, Any] = {
        "name": f"n[red]{ESCAPE}[31m",
        "script": "s[/]\nt",
        "status": f"{ESCAPE}[0m",
        "signal": f"{ESCAPE}9",
        "warnings": [f"w[/]{ESCAPE}\r"],
        "dropped": [{"pid": 1, "reason": f"{ESCAPE}[2J", "spans": 1}],
    }
    process = {"torch": f"2[/]{ESCAPE}", "recorder": f"r{ESCAPE}", "overhead": {"total_ns": 1, "operator_ns": 1}}
    write_drawn_run(here / "run", lambda rank, step: draw, steps=5, info=info, process=process)
    text = cli("report", "run", columns=columns).stdout
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert "[bold]" in text
    assert r"\x1b" in text
    assert json.loads(cli("report", "run", "--format", "json").stdout)["summary"]["ops"]


@pytest.mark.parametrize("odd", [None, 7, "x", -1, [], [None, 3], {"a": 1}])
def test_odd_values_in_run_json_break_nothing(cli: Cli, here: Path, odd: object) -> None:
    keys = ("name", "script", "command", "status", "exit_code", "signal", "host", "clock", "settings", "packages")
    info = {**dict.fromkeys(keys, odd), "dropped": odd, "warnings": odd, "created_ns": odd, "ended_ns": odd}
    process = dict.fromkeys(("torch", "recorder", "intra_op_threads", "overhead", "warnings", "optimizers"), odd)
    write_drawn_run(here / "run", lambda rank, step: (op("aten::mm", 5),), steps=6, info=info, process=process)
    assert cli("report", "run").exit_code == 0
    assert cli("report", "run", "--format", "json").exit_code == 0


def test_intra_op_threads_are_those_of_the_process_that_drives_the_steps(cli: Cli, here: Path) -> None:
    launcher = {"pid": 1, "intra_op_threads": 8}
    written = write_drawn_run(
        here / "run", lambda rank, step: (op("aten::mm", 5),), steps=6, process={"intra_op_threads": 3}
    )
    info = json.loads((written / "run.json").read_text())
    info["processes"].insert(0, launcher)
    (written / "run.json").write_text(json.dumps(info))
    assert "3 intra-op threads for the kernels" in cli("report", "run").stdout


def test_a_damaged_run_ends_with_status_3_and_names_the_file(cli: Cli, train: Path) -> None:
    (train / "run.json").write_text("{")
    result = cli("report")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"deepseek-prof: {train / 'run.json'} is not valid JSON")


def test_no_run_ends_with_status_2(cli: Cli) -> None:
    result = cli("report")
    assert result.exit_code == 2
    assert "Record one first" in result.stderr
