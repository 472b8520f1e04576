"""Figures of PyTorch's snapshots of CUDA memory, and files that only claim to be one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepseek_prof.analysis.cuda_memory import CudaPool, cuda_memory
from deepseek_prof.cli.app import build_app
from deepseek_prof.errors import RunDamagedError
from deepseek_prof.model import LAYER_LABEL
from deepseek_prof.trace.run import Run
from tests.support.drawn import module, op, write_drawn_run

MIB = 1 << 20


def block(size: int, state: str) -> dict[str, Any]:
    return {"size": size, "state": state, "requested_size": size, "frames": []}


SNAPSHOT = {
    "segments": [
        {
            "device": 0,
            "total_size": 20 * MIB,
            "blocks": [block(8 * MIB, "active_allocated"), block(7 * MIB, "inactive"), block(5 * MIB, "inactive")],
        },
        {
            "device": 0,
            "total_size": 2 * MIB,
            "blocks": [block(MIB, "active_pending_free"), block(MIB, "active_allocated")],
        },
        {"device": 1, "total_size": 2 * MIB, "blocks": [block(2 * MIB, "active_allocated")]},
    ],
    "device_traces": [[{"action": "segment_alloc"}] * 3, []],
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_drawn_run(tmp_path / "run", lambda rank, step: [module("net", 90, op("aten::mm", 80))], steps=2)


def put(run_dir: Path, content: bytes) -> None:
    path = run_dir / "snapshots" / "rank=1" / "pid=42" / "memory-snapshot.pickle"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_reserved_allocated_and_free(run_dir: Path) -> None:
    put(run_dir, pickle.dumps(SNAPSHOT))
    with Run.open(run_dir) as run:
        pools = cuda_memory(run).pools
    assert pools == (
        CudaPool(1, 42, "cuda:0", 22 * MIB, 9 * MIB, 12 * MIB, 7 * MIB, 2, 3),
        CudaPool(1, 42, "cuda:1", 2 * MIB, 2 * MIB, 0, 0, 0, 0),
    )
    shown = CliRunner().invoke(build_app(), ["memory", str(run_dir)])
    assert shown.exit_code == 0
    assert "cuda:0 of process 42" in shown.stdout
    assert "12.0 MiB" in shown.stdout


class _Harmful:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harmed",)


_ENTRY = {"action": "alloc", "addr": 1, "size": "x", "user_metadata": f"{LAYER_LABEL}net"}
_WRONG_SIZE = {
    "segments": [{"device": 0, "address": 0, "total_size": MIB, "blocks": [block(MIB, "active_allocated")]}],
    "device_traces": [[_ENTRY]],
}


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(_Harmful()),
        b"",
        b"text",
        pickle.dumps([1]),
        pickle.dumps({}),
        pickle.dumps(_WRONG_SIZE),
    ],
)
def test_what_is_no_snapshot_is_refused_and_runs_no_code(
    run_dir: Path, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(run_dir, content)
    with Run.open(run_dir) as run, pytest.raises(RunDamagedError, match="memory-snapshot"):
        cuda_memory(run)
    assert not (tmp_path / "harmed").exists()
