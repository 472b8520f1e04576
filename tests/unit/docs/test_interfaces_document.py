"""docs/interfaces.md says what ``top``, ``diff``, ``gpu``, ``sql`` and ``logs`` write, field by field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepseek_prof.cli.app import build_app
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.trace.statement import VIEWS
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.drawn import module, op, write_drawn_run

DOCUMENT = (Path(__file__).parents[3] / "docs" / "interfaces.md").read_text(encoding="utf-8")
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "object": dict,
}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$.*?(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/interfaces.md has no section {title}"
    return found[0]


def fields(title: str) -> dict[str, str]:
    """Documented fields with their types."""
    return dict(re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", section(title), re.MULTILINE))


def check(row: dict[str, Any], documented: dict[str, str]) -> None:
    for name, value in row.items():
        kinds = tuple(TYPES[each] for each in documented[name].split(" or "))
        assert any(isinstance(value, kind) for kind in kinds), f"{name} = {value!r} is no {documented[name]}"
        assert not isinstance(value, bool)


def output(*words: str) -> str:
    result = CliRunner().invoke(build_app(), list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """Two runs, of which the second has a layer more, another less, and one that is slower."""

    def draw(names: tuple[str, ...], ns: int) -> Any:
        return lambda rank, step: [module("net", 9 * ns, *(module(name, ns, op("aten::mm", ns - 9)) for name in names))]

    paths = (
        write_drawn_run(tmp_path / "a", draw(("same", "old"), 1_000), steps=8),
        write_drawn_run(tmp_path / "b", draw(("same", "new"), 2_000), steps=8),
    )
    return str(paths[0]), str(paths[1])


def test_the_version_is_stated() -> None:
    assert re.search(r"^Version 1\.", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("by", ["op", "layer", "type", "phase", "step", "thread", "context"])
def test_top(runs: tuple[str, str], by: str) -> None:
    found = json.loads(output("top", runs[0], "--by", by, "--format", "json"))
    documented = fields("`top --format json`")
    assert found
    for row in found:
        assert list(row) == list(documented)
        check(row, documented)


@pytest.mark.parametrize("by", ["layer", "op", "type", "phase", "context"])
def test_diff(runs: tuple[str, str], by: str) -> None:
    found = json.loads(output("diff", *runs, "--by", by, "--format", "json"))
    documented = fields("`diff --format json`")
    assert [row["row"] for row in found[:3]] == ["step", "total", "entry"]
    for row in found:
        assert list(row) == list(documented)
        check(row, documented)


def test_every_verdict_of_diff_is_documented(runs: tuple[str, str]) -> None:
    commands = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    seen = {row["verdict"] for row in json.loads(output("diff", *runs, "--format", "json"))}
    assert {"added", "removed", "slower"} <= seen
    for verdict in ("slower", "faster", "inconclusive", "added", "removed", "unknown"):
        assert f"`{verdict}`" in section("`diff --format json`")
        assert re.search(rf"^\| .*`{verdict}`", commands, re.MULTILINE)


def test_sql(runs: tuple[str, str]) -> None:
    found = json.loads(output("sql", runs[0], "--format", "json", "select name, step, dur_ns from spans limit 3"))
    assert [list(row) for row in found] == [["name", "step", "dur_ns"]] * 3


@pytest.mark.parametrize("view", VIEWS)
def test_the_columns_of_the_views(runs: tuple[str, str], view: str) -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| `([\w, ]+)` \|$", section("Views of `sql`"), re.MULTILINE))
    assert set(documented) == set(VIEWS)
    columns = json.loads(output("sql", runs[0], "--format", "json", f"describe {view}"))
    assert [row["column_name"] for row in columns] == documented[view].split(", ")


def test_logs(runs: tuple[str, str]) -> None:
    documented = fields("`logs --format json`")
    lines = output("logs", runs[0], "--format", "json").splitlines()
    assert lines
    for line in lines:
        row = json.loads(line)
        assert set(row) <= set(documented)
        check(row, documented)


def test_gpu(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")
    found = json.loads(output("gpu", str(tmp_path / "run"), "--format", "json"))
    rows = re.findall(r"^\| `(\w+)` \| (?:`([\w, ]+)`)? ?\|", section("`gpu --format json`"), re.MULTILINE)
    documented = {name: entry.split(", ") for name, entry in rows}
    assert list(found) == list(documented)
    assert set(found["tables"]) == {"layer", "operator", "type", "kernel"}
    found["tables"] = found["tables"]["kernel"]
    shown = []
    for name, value in found.items():
        entry = value[0] if isinstance(value, list) and value else value
        if isinstance(entry, dict):
            shown.append(name)
            assert list(entry) == documented[name]
    assert {"window", "devices", "streams", "launches", "tensor_cores", "tables"} <= set(shown)
