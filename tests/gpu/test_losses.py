"""Losses on a GPU: read without waiting for it, and the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.metrics.test_losses import counted
from tests.support.recording import open_run, run_both, write_program

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

PROGRAM = """
    import json, torch
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 8).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = []
    for step in range(50):
        loss = model(torch.randn(16, 64, device="cuda")).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        kept.append(loss.detach())
    print(json.dumps(torch.stack(kept).tolist()))
"""


def test_losses_on_a_gpu_are_recorded_without_a_synchronisation(tmp_path: Path) -> None:
    pair = run_both([str(write_program(tmp_path, PROGRAM))], tmp_path)
    pair.assert_recorded()
    assert counted(pair.run_dir)["loss"] == json.loads(pair.bare.stdout)
    with open_run(pair.run_dir) as run:
        assert run.rows("SELECT count(*) FROM spans WHERE name = 'aten::_local_scalar_dense'") == [(0,)]


MODES = """
    import torch, deepseek_prof
    torch.set_default_device("cuda")
    with torch.inference_mode():
        deepseek_prof.log_metric("inside", torch.ones(()))
        torch.cuda.synchronize()
    deepseek_prof.log_metric("outside", torch.full((), 2.0))
    model = torch.nn.Linear(8, 8)
    inputs = torch.ones(4, 8)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            model(inputs).sum().backward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    model.zero_grad()
    with torch.cuda.graph(graph):
        model(inputs).sum().backward()
    graph.replay()
    torch.cuda.synchronize()
    print(float(model.weight.grad.sum()))
"""


def test_default_devices_inference_mode_and_captures(tmp_path: Path) -> None:
    pair = run_both([str(write_program(tmp_path, MODES))], tmp_path)
    pair.assert_recorded()
    found = counted(pair.run_dir)
    assert (found["inside"], found["outside"]) == ([1.0], [2.0])
    assert len(found["loss"]) == 3
