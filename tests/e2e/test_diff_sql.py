"""Two real recordings side by side, of a changed program and of the same one, and SQL over them."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path
from typing import Any

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
RECORDINGS = 4
FALSE_POSITIVES = 0.1
"""Of the entries of two recordings of one program, at most this share may be called slower or faster.

The intervals claim one in twenty and the least change takes most of these away; but what else the machine does while
one of the two is recorded is a true difference between them. Hence the middle one of all pairs is looked at."""


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
def same(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Recordings of the unchanged program."""
    folder = tmp_path_factory.mktemp("same")
    return [recorded(folder / str(number)) for number in range(RECORDINGS)]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of the changed program."""
    return recorded(tmp_path_factory.mktemp("changed") / "run", "changed")


@pytest.mark.slow
def test_exactly_the_changed_layers_are_found(same: list[str], changed: str) -> None:
    # One layer does eight times the work; half as much again is more than what a busy machine does to the others' means
    # without widening their intervals as much.
    found = rows(same[0], changed, "--changed", "--min-change", "150%")
    entries = {row["name"]: row["verdict"] for row in found if row["row"] == "entry"}
    assert entries == {"slower": "slower", "old": "removed", "new": "added"}
    (slower,) = (row for row in found if row["name"] == "slower")
    assert slower["before_calls"] == slower["after_calls"] == 1
    assert slower["low_ns"] > 0
    assert slower["ratio"] > 2.5


@pytest.mark.slow
def test_operators_inside_the_changed_layer_are_counted(same: list[str], changed: str) -> None:
    (row,) = (
        row for row in rows(same[0], changed, "layer:slower phase:forward", "--by", "op") if row["name"] == "aten::mm"
    )
    assert (row["before_calls"], row["after_calls"]) == (4, 32)


@pytest.mark.slow
def test_recordings_of_one_program_hardly_differ(same: list[str]) -> None:
    shares = []
    for before, after in itertools.combinations(same, 2):
        entries = [row for by in ("layer", "op") for row in rows(before, after, "--by", by) if row["row"] == "entry"]
        assert len(entries) > 20
        assert not [row["name"] for row in entries if row["verdict"] in ("added", "removed", "unknown")]
        shares.append(sum(row["verdict"] in ("slower", "faster") for row in entries) / len(entries))
    assert statistics.median(shares) <= FALSE_POSITIVES, shares


@pytest.mark.slow
def test_sql_agrees_with_diff(same: list[str]) -> None:
    total = next(row for row in rows(same[0], same[0]) if row["row"] == "total")
    statement = (
        "select sum(self_ns) / count(distinct step) as ns from spans where kind <> 'step' and step >= "
        f"(select max(step) + 1 - {total['before_steps']} from spans)"
    )
    done = run_cli("sql", same[0], "--format", "json", statement)
    assert json.loads(done.stdout) == [{"ns": pytest.approx(total["before_ns"])}]
