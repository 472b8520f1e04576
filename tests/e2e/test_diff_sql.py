"""Two real recordings side by side, of a changed program and of the same one, and SQL over them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.support.recording import record, run_cli, write_program

# Layers of the same size, one thread, no data loading: what varies is the machine.
PROGRAM = """
    import sys
    import torch
    from torch import nn

    class Repeated(nn.Module):
        def __init__(self, times):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(128, 128) / 128**0.5)
            self.times = times

        def forward(self, x):
            for _ in range(self.times):
                x = x @ self.weight
            return x

    changed = "changed" in sys.argv
    torch.set_num_threads(1)
    model = nn.Sequential()
    model.add_module("same", Repeated(4))
    model.add_module("slower", Repeated(32 if changed else 4))
    model.add_module("new" if changed else "old", Repeated(4))
    model.add_module("head", nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(128, 128), torch.randint(0, 10, (128,))
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
"""
FALSE_POSITIVES = 0.1
"""Of the entries of two equal recordings, at most this share may be called slower or faster: the intervals claim one in
twenty, and the least change takes most of these away."""


def recorded(folder: Path, *words: str) -> str:
    folder.mkdir()
    return str(record([str(write_program(folder, PROGRAM)), *words], folder))


def rows(*words: str) -> list[dict[str, Any]]:
    done = run_cli("diff", *words, "--format", "json", "-n", "0")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of the unchanged program."""
    return recorded(tmp_path_factory.mktemp("same") / "run")


@pytest.fixture(scope="module")
def halves(same: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The even and the odd steps of one recording as two runs.

    Two recordings one after the other differ by what else the machine does meanwhile; alternate steps share it.
    """
    folder = tmp_path_factory.mktemp("halves")
    for half in (0, 1):
        copy = folder / str(half)
        shutil.copytree(same, copy)
        for path in (copy / "spans").rglob("*.parquet"):
            table = pq.read_table(path, partitioning=None)
            chosen = table.filter(pc.equal(pc.bit_wise_and(table["step"], 1), half))
            step = chosen.schema.field("step")
            renumbered = pc.shift_right(chosen["step"], 1).cast(step.type)
            pq.write_table(chosen.set_column(chosen.schema.get_field_index("step"), step, renumbered), path)
    return str(folder / "0"), str(folder / "1")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of the changed program."""
    return recorded(tmp_path_factory.mktemp("changed") / "run", "changed")


@pytest.mark.slow
def test_exactly_the_changed_layers_are_found(same: str, changed: str) -> None:
    # One layer does eight times the work; half as much again is more than what a busy machine does to the others' means
    # without widening their intervals as much.
    found = rows(same, changed, "--changed", "--min-change", "150%")
    entries = {row["name"]: row["verdict"] for row in found if row["row"] == "entry"}
    assert entries == {"slower": "slower", "old": "removed", "new": "added"}
    (slower,) = (row for row in found if row["name"] == "slower")
    assert slower["before_calls"] == slower["after_calls"] == 1
    assert slower["low_ns"] > 0
    assert slower["ratio"] > 2.5


@pytest.mark.slow
def test_operators_inside_the_changed_layer_are_counted(same: str, changed: str) -> None:
    (row,) = (
        row for row in rows(same, changed, "layer:slower phase:forward", "--by", "op") if row["name"] == "aten::mm"
    )
    assert (row["before_calls"], row["after_calls"]) == (4, 32)


@pytest.mark.slow
def test_equal_recordings_hardly_differ(halves: tuple[str, str]) -> None:
    entries = [row for by in ("layer", "op") for row in rows(*halves, "--by", by) if row["row"] == "entry"]
    assert len(entries) > 20
    assert not [row["name"] for row in entries if row["verdict"] in ("added", "removed", "unknown")]
    shifted = [row["name"] for row in entries if row["verdict"] in ("slower", "faster")]
    assert len(shifted) <= FALSE_POSITIVES * len(entries), shifted


@pytest.mark.slow
def test_sql_agrees_with_diff(same: str) -> None:
    total = next(row for row in rows(same, same) if row["row"] == "total")
    statement = (
        "select sum(self_ns) / count(distinct step) as ns from spans where kind <> 'step' and step >= "
        f"(select max(step) + 1 - {total['before_steps']} from spans)"
    )
    done = run_cli("sql", same, "--format", "json", statement)
    assert json.loads(done.stdout) == [{"ns": pytest.approx(total["before_ns"])}]
