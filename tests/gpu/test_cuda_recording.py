"""``run --cuda`` on a real GPU: counts, attribution, graphs, the program's own profiler, the light mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.trace.run import Run
from tests.support.recording import run_cli, write_program

pytestmark = pytest.mark.gpu

_MODEL = """
    import json, sys, time
    import torch
    from torch import nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    data = torch.randn(64, 256, device="cuda")

    def step():
        model(data).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
"""


def _record(tmp_path: Path, body: str, *options: str) -> Run:
    program = write_program(tmp_path, _MODEL + body)
    done = run_cli("run", "--output", str(tmp_path / "run"), *options, str(program), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"CUDA work is" not in done.stderr
    return Run.open(tmp_path / "run")


def _dicts(run: Run, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run.table(sql).to_pylist()
    return rows


def test_kernels_are_those_of_torch_profiler(tmp_path: Path) -> None:
    body = """
    for _ in range(40): step()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(10): step()
        torch.cuda.synchronize()
    events = profiler.profiler.kineto_results.events()
    names = [event.name() for event in events if event.activity_type() == "kernel"]
    json.dump(names, open("names.json", "w"))
    """
    with _record(tmp_path, body, "--cuda", "kernels") as run:
        found = dict(
            run.rows("SELECT name, count(*) FROM spans WHERE kind = 'kernel' AND step BETWEEN 10 AND 19 GROUP BY 1")
        )
        events = [event for (event,) in run.rows("SELECT event FROM logs WHERE event LIKE 'cuda%' ORDER BY ts_ns")]
    names = json.loads((tmp_path / "names.json").read_text())
    assert found == {name: names.count(name) for name in set(names)}
    assert events == ["cuda_recording_paused", "cuda_recording_resumed"]


def test_kernels_have_layer_phase_and_step(tmp_path: Path) -> None:
    with _record(tmp_path, "\n    for _ in range(20): step()\n") as run:
        per_step = run.rows(
            "SELECT step, count(*) FROM spans WHERE kind = 'kernel' AND step >= 2 GROUP BY 1 ORDER BY 1"
        )
        found = set(run.rows("SELECT layer, phase FROM spans WHERE kind = 'kernel' AND layer IS NOT NULL GROUP BY ALL"))
        ((inside, whole),) = run.rows(
            "SELECT sum(dur_ns) FILTER (layer IS NOT NULL), sum(dur_ns) FROM spans "
            "WHERE kind = 'kernel' AND phase = 'backward'"
        )
        calls = run.rows(
            "SELECT count(*) FROM spans WHERE kind = 'runtime' AND name = 'cudaLaunchKernel' AND device IS NULL"
        )
    assert len({count for _, count in per_step}) == 1
    assert [step for step, _ in per_step] == list(range(2, 20))
    for layer in ("0", "1", "2"):
        assert (layer, "forward") in found
        assert (layer, "backward") in found
    assert inside > 0.5 * whole  # the loss of so small a model is a good part of it
    assert calls[0][0] > 0


def test_copies_have_bytes_with_record_full(tmp_path: Path) -> None:
    body = """
    for _ in range(4):
        data.copy_(torch.randn(64, 256))
        step()
    """
    with _record(tmp_path, body, "--record", "full") as run:
        sizes = run.rows("SELECT DISTINCT bytes FROM spans WHERE kind = 'memcpy' AND name LIKE '%HtoD%'")
    assert (64 * 256 * 4,) in sizes


def test_graph_replays_count_for_the_layers_that_were_captured(tmp_path: Path) -> None:
    body = """
    side = torch.cuda.Stream()
    with torch.cuda.stream(side), torch.no_grad():
        for _ in range(3): model(data)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        model(data)
    for _ in range(50):
        with torch.profiler.record_function("replay"):
            graph.replay()
    """
    with _record(tmp_path, body) as run:
        kernels = dict(run.rows("SELECT layer, count(*) FROM spans WHERE kind = 'kernel' GROUP BY 1"))
        ((in_replays,),) = run.rows(
            "SELECT count(*) FROM launches l WHERE EXISTS (SELECT 1 FROM spans s WHERE s.name = 'replay' "
            "AND l.launched_ns BETWEEN s.start_ns AND s.start_ns + s.dur_ns)"
        )
    assert in_replays >= 50 * 3
    assert all(kernels.get(layer, 0) >= 50 for layer in ("0", "1", "2")), kernels


def test_compiled_kernels_have_a_layer(tmp_path: Path) -> None:
    body = """
    called = torch.compile(model)
    def compiled_step():
        called(data).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for _ in range(20): compiled_step()
    """
    with _record(tmp_path, body) as run:
        ((inside, whole),) = run.rows(
            "SELECT sum(dur_ns) FILTER (layer IS NOT NULL), sum(dur_ns) FROM spans "
            "WHERE kind = 'kernel' AND phase = 'forward' AND step >= 5"
        )
    assert inside >= 0.5 * whole


def test_events_time_steps_and_layers(tmp_path: Path) -> None:
    body = """
    for _ in range(65): step()
    torch.cuda.synchronize()
    begin = time.perf_counter_ns()
    for _ in range(32): step()
    torch.cuda.synchronize()
    json.dump((time.perf_counter_ns() - begin) / 32, open("step.json", "w"))
    """
    with _record(tmp_path, body, "--cuda", "events", "--record", "layers") as run:
        steps = _dicts(run, "SELECT * FROM spans WHERE device = 'cuda:0' AND name = 'step' ORDER BY start_ns")
        layers = _dicts(run, "SELECT DISTINCT layer FROM spans WHERE device = 'cuda:0' AND name <> 'step'")
        assert run.rows("SELECT count(*) FROM spans WHERE kind = 'kernel'") == [(0,)]
    step_ns = json.loads((tmp_path / "step.json").read_text())
    measured = sorted(row["dur_ns"] for row in steps[65:])
    assert len(steps) >= 90
    assert 0.2 * step_ns < measured[len(measured) // 2] < 5 * step_ns
    assert {"0", "1", "2"} <= {row["layer"] for row in layers}


def test_steps_limit_the_windows(tmp_path: Path) -> None:
    with _record(tmp_path, "\n    for _ in range(20): step()\n", "--steps", "5:8") as run:
        found = [step for (step,) in run.rows("SELECT DISTINCT step FROM spans WHERE kind = 'kernel' ORDER BY 1")]
    assert found == [5, 6, 7]
