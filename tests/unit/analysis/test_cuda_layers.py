"""CUDA memory by layer at the peak of a snapshot's history."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from deepseek_prof.analysis.cuda_layers import OLDER, OUTSIDE, CudaLayer, layers_of
from deepseek_prof.cli.app import build_app
from deepseek_prof.model import LAYER_LABEL
from tests.support.drawn import module, op, write_drawn_run


def alloc(address: int, size: int, label: str | None = None) -> dict[str, Any]:
    entry = {"action": "alloc", "addr": address, "size": size, "time_us": 1}
    return entry if label is None else {**entry, "user_metadata": label}


def free(address: int, size: int) -> list[dict[str, Any]]:
    return [{"action": action, "addr": address, "size": size} for action in ("free_requested", "free_completed")]


def snapshot(history: list[dict[str, Any]], *alive: tuple[int, int]) -> dict[str, Any]:
    """Device 1 with pieces alive at its end (address, size), blocks of 1,000 bytes from 0 on."""
    sizes = dict(alive)
    blocks = [
        {"size": 1_000, "requested_size": sizes.get(at, 0), "state": "active_allocated" if at in sizes else "inactive"}
        for at in range(0, 10_000, 1_000)
    ]
    segment = {"device": 1, "address": 0, "total_size": 10_000, "blocks": blocks}
    return {"segments": [segment], "device_traces": [[], history]}


FC, ACT = LAYER_LABEL + "fc", LAYER_LABEL + "act"
HISTORY = [
    alloc(1_000, 300, FC),
    alloc(2_000, 200, ACT),
    *free(5_000, 50),  # nobody saw it come, and it is gone before the peak
    alloc(3_000, 100, ""),
    alloc(4_000, 70, "the program's own"),
    *free(6_000, 40),  # after it
    *free(2_000, 200),
    alloc(2_000, 30, FC),  # the same place again
    {"action": "oom", "size": 1, "device_free": 0},
]


def test_what_each_layer_held_at_the_peak() -> None:
    alive = ((0, 500), (1_000, 300), (2_000, 30), (3_000, 100), (4_000, 70))
    assert layers_of(snapshot(HISTORY, *alive), 1, 3, 42) == [
        CudaLayer(3, 42, "cuda:1", OLDER, 540, 0, 0),
        CudaLayer(3, 42, "cuda:1", "fc", 300, 330, 2),
        CudaLayer(3, 42, "cuda:1", "act", 200, 200, 1),
        CudaLayer(3, 42, "cuda:1", OUTSIDE, 170, 170, 2),
    ]


def test_the_peak_may_be_where_the_history_begins_or_ends() -> None:
    begins = layers_of(snapshot([*free(1_000, 900), alloc(2_000, 10, FC)], (2_000, 10)), 1, 0, 1)
    assert [(each.name, each.at_peak_bytes) for each in begins] == [(OLDER, 900), ("fc", 0)]
    ends = layers_of(snapshot([alloc(1_000, 5, FC), alloc(2_000, 6, FC)], (1_000, 5), (2_000, 6)), 1, 0, 1)
    assert [(each.name, each.at_peak_bytes) for each in ends] == [("fc", 11)]


def test_without_labels_there_is_nothing_to_tell() -> None:
    assert layers_of(snapshot([alloc(1_000, 300), alloc(2_000, 5, "mine")], (1_000, 300)), 1, 0, 1) == []
    assert layers_of(snapshot(HISTORY), 0, 0, 1) == []


def test_memory_shows_them(tmp_path: Path) -> None:
    run_dir = write_drawn_run(tmp_path / "run", lambda rank, step: [module("net", 90, op("aten::mm", 80))], steps=2)
    path = run_dir / "snapshots" / "rank=0" / "pid=42" / "memory-snapshot.pickle"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(snapshot([*HISTORY, alloc(9_000, 900, LAYER_LABEL + "[red]x\x1b[2J")], (0, 500))))
    shown = CliRunner().invoke(build_app(), ["memory", str(run_dir)])
    assert shown.exit_code == 0, shown.output
    assert "CUDA memory at its peak, by layer" in shown.stdout
    assert "[red]x" in shown.stdout
    assert "\x1b" not in shown.stdout
    written = CliRunner().invoke(build_app(), ["memory", str(run_dir), "--format", "json"])
    assert {"fc", "act", OLDER, OUTSIDE} < {each["name"] for each in json.loads(written.stdout)["cuda_layers"]}
    shorter = CliRunner().invoke(build_app(), ["memory", str(run_dir), "-n", "1"])
    assert "act" not in shorter.stdout.partition("by layer")[2]
