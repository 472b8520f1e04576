"""Two real recordings side by side, of a changed program and of the same one, and SQL over them."""

from __future__ import annotations

import json
import random
import shutil
import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from deepseek_prof.analysis.diff import diff
from deepseek_prof.trace.run import Run
from tests.support.recording import record, run_cli, write_program

# Layers of the same size, one thread, no data loading: what varies is the machine. With "changed", every second step
# runs the changed model.
PROGRAM = """
    import sys
    import torch
    from torch import nn

    class Repeated(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(128, 128) / 128**0.5)

        def forward(self, x, times=4):
            for _ in range(times):
                x = x @ self.weight
            return x

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.same, self.slower, self.old, self.new = Repeated(), Repeated(), Repeated(), Repeated()
            self.head = nn.Linear(128, 10)

        def forward(self, x, changed):
            x = self.slower(self.same(x), 32 if changed else 4)
            return self.head(self.new(x) if changed else self.old(x))

    torch.set_num_threads(1)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(128, 128), torch.randint(0, 10, (128,))
    for step in range(120):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x, "changed" in sys.argv and step % 2 == 1), y).backward()
        optimizer.step()
"""
STEPS = 120
SPLITS = 7
FALSE_POSITIVES = 0.1
"""Of the entries of two equal runs, at most this share may be called slower or faster, in the middle one of all splits:
the intervals claim one in twenty, but entries share their slow steps and so err together."""


def recorded(folder: Path, *words: str) -> str:
    folder.mkdir()
    return str(record([str(write_program(folder, PROGRAM)), *words], folder))


def rows(*words: str) -> list[dict[str, Any]]:
    done = run_cli("diff", *words, "--format", "json", "-n", "0")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def split(run: str, folder: Path, halves: list[list[int]]) -> tuple[str, str]:
    """Two lots of steps of one recording as two runs.

    Two recordings one after the other differ by what else the machine does meanwhile; steps of one share it.
    """
    for number, steps in enumerate(halves):
        copy = folder / str(number)
        shutil.copytree(run, copy)
        for path in (copy / "spans").rglob("*.parquet"):
            table = pq.read_table(path, partitioning=None)
            renumbered = pc.index_in(table["step"], pa.array(steps, table.schema.field("step").type))
            column = table.schema.get_field_index("step")
            table = table.set_column(column, table.schema.field("step"), renumbered)
            pq.write_table(table.filter(pc.is_valid(table["step"])), path)
        _forget_unused_contexts(copy)
    return str(folder / "0"), str(folder / "1")


def _forget_unused_contexts(run: Path) -> None:
    """Leave the contexts of the spans that are there, and those around them: a run knows no others."""
    used = set()
    for path in (run / "spans").rglob("*.parquet"):
        used.update(pq.read_table(path, partitioning=None)["context_id"].unique().to_pylist())
    for path in (run / "contexts").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        parents = dict(zip(table["context_id"].to_pylist(), table["parent_id"].to_pylist(), strict=True))
        kept = set()
        for each in used & parents.keys():
            context = each
            while context is not None and context not in kept:
                kept.add(context)
                context = parents.get(context)
        pq.write_table(table.filter(pc.is_in(table["context_id"], pa.array(kept, pa.int64()))), path)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of the unchanged program."""
    return recorded(tmp_path_factory.mktemp("same") / "run")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A run of the program, and one of the changed program."""
    folder = tmp_path_factory.mktemp("changed")
    return split(recorded(folder / "run", "changed"), folder, [list(range(0, STEPS, 2)), list(range(1, STEPS, 2))])


@pytest.mark.slow
def test_exactly_the_changed_layers_are_found(changed: tuple[str, str]) -> None:
    # Of means, a single step that lost its core to another process would decide.
    found = rows(*changed, "--changed", "--statistic", "median", "--min-change", "50%")
    layers = ("Net", "same", "slower", "old", "new", "head")
    entries = {row["name"]: row["verdict"] for row in found if row["name"] in layers}
    assert entries == {"slower": "slower", "old": "removed", "new": "added"}
    (slower,) = (row for row in found if row["name"] == "slower")
    assert slower["before_calls"] == slower["after_calls"] == 1
    assert slower["low_ns"] > 0
    assert slower["ratio"] > 2.5


@pytest.mark.slow
def test_operators_inside_the_changed_layer_are_counted(changed: tuple[str, str]) -> None:
    found = rows(*changed, "layer:slower phase:forward", "--by", "op")
    (row,) = (row for row in found if row["name"] == "aten::mm")
    assert (row["before_calls"], row["after_calls"]) == (4, 32)


@pytest.mark.slow
def test_equal_recordings_hardly_differ(same: str, tmp_path: Path) -> None:
    shares = []
    for seed in range(SPLITS):
        order = random.Random(seed).sample(range(STEPS), STEPS)
        halves = [sorted(order[: STEPS // 2]), sorted(order[STEPS // 2 :])]
        before, after = (Run.open(Path(path)) for path in split(same, tmp_path / str(seed), halves))
        with before, after:
            entries = [row for by in ("layer", "op") for row in diff(before, after, by, limit=None).rows]
        assert len(entries) > 20
        assert not [row.name for row in entries if row.verdict in ("added", "removed", "unknown")]
        shares.append(sum(row.verdict in ("slower", "faster") for row in entries) / len(entries))
    assert statistics.median(shares) <= FALSE_POSITIVES, shares


@pytest.mark.slow
def test_sql_agrees_with_diff(same: str) -> None:
    total = next(row for row in rows(same, same) if row["row"] == "total")
    statement = (
        "select sum(self_ns) / count(distinct step) as ns from spans where kind <> 'step' and step >= "
        f"(select max(step) + 1 - {total['before_steps']} from spans)"
    )
    done = run_cli("sql", same, "--format", "json", statement)
    assert json.loads(done.stdout) == [{"ns": pytest.approx(total["before_ns"])}]
