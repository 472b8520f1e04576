"""Counters of a real process tree, from the collector to the Parquet file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deepseek_prof.collectors.process_metrics import DEVICE, ProcessMetrics
from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.counters import CounterWriter

HELD_BYTES = 64 << 20
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "x = b'x' * {HELD_BYTES}; print(flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
child.communicate(b"\\n")
"""


@pytest.fixture
def tree() -> Iterator[tuple[int, int]]:
    """The process ids of a parent and of its child, which holds 64 MiB."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.communicate("\n")


def values(samples: Iterator[CounterSample]) -> dict[tuple[int, str], float]:
    return {(sample.rank, sample.name): sample.value for sample in samples}


def test_a_child_counts_for_its_nearest_recorded_ancestor(tree: tuple[int, int]) -> None:
    parent, _ = tree
    found = values(ProcessMetrics().sample(parent, {parent: 3}))
    assert found[3, "rss"] > HELD_BYTES
    assert {rank for rank, _ in found} == {3}


def test_ranks_are_kept_apart(tree: tuple[int, int]) -> None:
    parent, child = tree
    found = values(ProcessMetrics().sample(parent, {parent: 0, child: 1}))
    assert found[1, "rss"] > HELD_BYTES > found[0, "rss"] > 0


def test_a_process_that_is_gone_gives_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not list(ProcessMetrics().sample(process.pid, {}))


def test_what_was_sampled_is_in_the_file(tree: tuple[int, int], tmp_path: Path) -> None:
    parent, child = tree
    described = tmp_path / "live" / f"{child}-1"
    described.mkdir(parents=True)
    (described / "process.json").write_text(json.dumps({"rank": 1}))
    writer = CounterWriter(tmp_path, parent, [ProcessMetrics()])
    writer.poll()
    writer.close()
    (path,) = (tmp_path / "counters" / "rank=1").iterdir()
    rows = pq.ParquetFile(path).read().to_pylist()
    found = {(row["device"], row["name"], row["unit"]) for row in rows}
    assert found == {(DEVICE, "rss", "bytes"), (DEVICE, "cpu", "percent")}
    assert (tmp_path / "counters" / "rank=0").is_dir()


def test_what_a_full_disk_refused_is_written_later(tree: tuple[int, int], tmp_path: Path) -> None:
    parent, _ = tree
    writer = CounterWriter(tmp_path, parent, [ProcessMetrics()])
    (tmp_path / "counters").write_text("in the way")
    writer.poll()
    with pytest.raises(OSError, match="counters"):
        writer.close()
    (tmp_path / "counters").unlink()
    writer.close()
    assert [path.name for path in (tmp_path / "counters" / "rank=0").iterdir()] == ["part-00000.parquet"]
