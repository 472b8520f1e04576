"""``run --memory-snapshot`` on a CUDA device: a bounded history that PyTorch's own viewer reads."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from deepseek_prof.analysis.cuda_memory import cuda_memory
from deepseek_prof.trace.run import Run
from tests.support.recording import record, write_program

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_the_snapshot_holds_the_programs_allocations(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import torch
        kept = torch.empty(3_000_000, device="cuda")
        for _ in range(10):
            torch.empty(1_000_000, device="cuda")
        """,
    )
    run_dir = record([str(program)], tmp_path, "--memory-snapshot")
    (path,) = (run_dir / "snapshots").rglob("memory-snapshot.pickle")
    snapshot = pickle.loads(path.read_bytes())  # written by the line above
    sizes = [entry["size"] for trace in snapshot["device_traces"] for entry in trace if entry["action"] == "alloc"]
    assert len([size for size in sizes if 12_000_000 <= size < 13_000_000]) == 1
    assert len([size for size in sizes if 4_000_000 <= size < 5_000_000]) == 10
    from torch.cuda._memory_viz import trace_plot

    assert "memory_viz" in trace_plot(snapshot)


def test_allocations_of_the_forward_pass_have_their_layer(tmp_path: Path) -> None:
    if not hasattr(torch._C, "_cuda_setMemoryMetadata"):
        pytest.skip("this torch cannot label allocations")
    program = write_program(
        tmp_path,
        """
        import torch
        model = torch.nn.Sequential(torch.nn.Linear(1024, 2048), torch.nn.GELU()).cuda()
        # What GELU keeps for backward is what Linear has made.
        kept = [model(torch.ones(512, 1024, device="cuda")) for _ in range(3)]
        """,
    )
    run_dir = record([str(program)], tmp_path, "--memory-snapshot")
    with Run.open(run_dir) as run:
        layers = {each.name: each for each in cuda_memory(run).layers}
    for name in ("0", "1"):
        assert layers[name].at_peak_bytes >= 3 * 512 * 2048 * 4
        assert layers[name].count >= 3
