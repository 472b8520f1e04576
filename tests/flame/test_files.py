"""speedscope and collapsed files: the schema of the former, the sum of the latter, and names that are data."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deepseek_prof.analysis.flame_diff import flame_diff
from deepseek_prof.analysis.timeline import timelines
from deepseek_prof.analysis.top import top
from deepseek_prof.errors import UsageError
from deepseek_prof.exporters.registry import Selection, load
from deepseek_prof.exporters.speedscope import speedscope_file
from deepseek_prof.exporters.viewer import APP
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.support.drawn import module, op, write_drawn_run

HOSTILE = (
    "</script><script>alert(1)</script>",
    "a;b",
    "back\\slash",
    "two\nlines",
    "\x1b[31mred",
    "trailing 12",
    "名 é 🔥",
    '"quoted"',
    "",
    "x" * 10_000,
)


def exported(name: str, run: Run, query: str = "") -> bytes:
    file = io.BytesIO()
    load(name).write(run, Selection(compile_query(query) if query else None, query), file)
    return file.getvalue()


def loaded(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema that the viewer's package ships."""
    found = sorted(APP.glob("file-format-schema*.json"))
    if not found and not os.environ.get("CI"):
        pytest.skip("this installation was built without the viewer, whose package holds the schema")
    return loaded(found[0].read_bytes())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose layers and operators have names that formats could trip over."""

    def draw(rank: int, step: int) -> list[Any]:
        return [module(f"layer {name}", 20, op(name, 9 + index)) for index, name in enumerate(HOSTILE)]

    return write_drawn_run(tmp_path_factory.mktemp("runs") / "hostile", draw, steps=2)


def test_speedscope_files_validate_against_the_schema(
    run: Run, device_run: Run, hostile: Path, schema: dict[str, Any]
) -> None:
    with Run.open(hostile) as names:
        contents = [
            exported("speedscope", run),
            exported("speedscope", device_run, "layer:*"),
            exported("speedscope", names),
            speedscope_file("timeline", timelines(device_run)),
            speedscope_file("diff", flame_diff(run, run).profiles),
        ]
    for content in contents:
        jsonschema.validate(loaded(content), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(loaded(contents[0]) | {"profiles": [{"type": "sampled"}]}, schema)


def test_profiles_stand_in_order_and_add_up(device_run: Run) -> None:
    file = loaded(exported("speedscope", device_run))
    assert (file["name"], file["activeProfileIndex"]) == (device_run.name, 0)
    assert [profile["name"] for profile in file["profiles"]] == [
        "layers · host time",
        "layers · accelerator time",
        "operators · host time",
        "operators · accelerator time",
        "kernels by type · accelerator time",
        "kernels by layer · accelerator time",
        "memory · copies of accelerators",
    ]
    for profile in file["profiles"]:
        assert profile["unit"] == ("bytes" if profile["name"].startswith("memory") else "nanoseconds")
        assert sum(profile["weights"]) == profile["endValue"] - profile["startValue"]
        assert all(isinstance(weight, int) for weight in profile["weights"])
    assert file["profiles"][0]["endValue"] == top(device_run).self_ns


def test_names_are_data_in_a_speedscope_file(hostile: Path) -> None:
    with Run.open(hostile) as run:
        file = loaded(exported("speedscope", run))
    names = [frame["name"] for frame in file["shared"]["frames"]]
    assert set(names) >= {*HOSTILE, *(f"layer {name}" for name in HOSTILE)}
    assert len(set(map(json.dumps, file["shared"]["frames"]))) == len(names)


def test_a_query_stands_in_the_title_and_narrows(run: Run) -> None:
    file = loaded(exported("speedscope", run, "phase:backward"))
    assert file["name"] == f"{run.name} · phase:backward"
    assert file["profiles"][0]["endValue"] == 800


def parsed(content: bytes) -> Counter[tuple[str, ...]]:
    """Collapsed stacks as flamegraph.pl reads them: the weight is behind the last space."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in content.decode().splitlines():
        stack, _, weight = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(weight)
    return found


def test_collapsed_stacks_add_up_to_the_self_time_of_top(run: Run, device_run: Run) -> None:
    for each in (run, device_run):
        assert parsed(exported("collapsed", each)).total() == top(each).self_ns
    mm = parsed(exported("collapsed", run, "op:aten::mm phase:backward"))
    assert mm == {("backward", "net", "net.fc", "AddmmBackward0", "aten::mm"): 680}
    assert parsed(exported("collapsed", device_run, "kind:kernel")).total() == 440_000


def test_names_in_collapsed_stacks_end_neither_frames_nor_lines(hostile: Path) -> None:
    with Run.open(hostile) as run:
        found = parsed(exported("collapsed", run))
        assert found.total() == top(run).self_ns
    assert {len(stack) for stack in found} == {2, 3}
    assert {stack[-1] for stack in found if len(stack) == 3} >= {
        "a\\x3bb",
        "back\\x5cslash",
        "two\\nlines",
        "\\x1b[31mred",
        "trailing 12",
        "名 é 🔥",
        "(no name)",
    }


@pytest.mark.parametrize("name", ["speedscope", "collapsed"])
def test_nothing_selected_is_said(run: Run, name: str) -> None:
    with pytest.raises(UsageError, match="Nothing selected"):
        exported(name, run, "op:nothing")
