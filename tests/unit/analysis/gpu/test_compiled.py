"""Kernels of compiled regions: what is noted while Inductor writes them, and the layers that they count for."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepseek_prof.analysis.gpu.compiled import kernel_layers
from deepseek_prof.analysis.gpu.summary import gpu_summary
from deepseek_prof.collectors.compiled_kernels import layer_name, layers_of
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.model import COMPILED_KERNEL
from deepseek_prof.trace.run import Run
from tests.support.chrome_trace import complete, on_device, write_trace
from tests.support.recording import environment, record, write_program


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("L['self']", ""),
        ("L['self'].a", "a"),
        ("L['x'].b.0", "b.0"),
        ("L['self'].layers[3].fc", "layers.3.fc"),
        ("L['self']._modules['odd name'].fc", "odd name.fc"),
        ("L['self']._orig_mod.module.fc", "fc"),
        ("L['self'].my_module.fc", "my_module.fc"),
    ],
)
def test_names_of_layers(path: str, name: str) -> None:
    assert layer_name(path) == name


def test_nodes_count_for_their_innermost_module_also_backward() -> None:
    nodes = [
        SimpleNamespace(meta={"nn_module_stack": {"1": ("L['self'].b", None), "2": ("L['self'].b.0", None)}}),
        SimpleNamespace(meta={"fwd_nn_module_stack": {"1": ("L['self'].b", None), "2": ("L['self'].b.0", None)}}),
        SimpleNamespace(meta={"nn_module_stack": {"1": ("L['self'].a", None)}}),
        SimpleNamespace(meta={"nn_module_stack": {"1": ("L['self']", None)}}),
        SimpleNamespace(meta={}),
    ]
    assert layers_of(nodes) == {"b.0": 2, "a": 1}


def note(run_dir: Path, *events: object) -> None:
    folder = run_dir / "logs" / "rank=0" / "pid=4000"
    folder.mkdir(parents=True)
    lines = [{"ts_ns": 1, "level": "debug", "event": COMPILED_KERNEL, "fields": each} for each in events]
    (folder / "part-00000.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_fused_kernel_counts_for_its_layers_by_their_nodes(tmp_path: Path) -> None:
    events = [
        complete("nn.Module: Net_0", 0, 100, "python_function"),
        complete("Torch-Compiled Region: 0/0", 10, 60, "cpu_op"),
        complete("cuLaunchKernel", 20, 5, "cuda_driver", correlation=1),
        on_device("triton_poi_fused_add_relu_0", 200, 40, 1),
        complete("aten::mul", 150, 20),
        complete("cudaLaunchKernel", 155, 5, "cuda_runtime", correlation=2),
        on_device("elementwise_kernel", 300, 10, 2),
    ]
    run_dir = tmp_path / "run"
    import_traces([write_trace(tmp_path / "trace.json", events)], run_dir)
    note(
        run_dir,
        {"kernel": "triton_poi_fused_add_relu_0", "layers": {"b.0": 2, "b.1": 1, "a": 1}},
        {"kernel": "triton_poi_fused_add_relu_0", "layers": [1]},
        {"kernel": 3, "layers": {"a": 1}},
        {"kernel": "another", "layers": {"a": "x"}},
    )
    with Run.open(run_dir) as run:
        assert set(kernel_layers(run)) == {(0, "triton_poi_fused_add_relu_0")}
        found = gpu_summary(run)
    assert found is not None
    assert {row.name: row.ns for row in found.tables["layer"]} == {
        "Net_0": 40_000,
        "b": 30_000,
        "b.0": 20_000,
        "b.1": 10_000,
        "a": 10_000,
        "(outside layers)": 10_000,
    }


def test_a_recording_notes_the_layers_of_compiled_kernels(tmp_path: Path) -> None:
    write_program(
        tmp_path,
        """
        import torch

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a = torch.nn.LayerNorm(32)
                self.b = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Sigmoid(), torch.nn.Tanh())])

            def forward(self, x):
                return self.b[0](self.a(x))

        net = torch.compile(Net())
        net(torch.randn(8, 32)).sum().backward()
        """,
    )
    caches = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    run_dir = record(["program.py"], tmp_path, env={**environment(), **caches})
    with Run.open(run_dir) as run:
        known = kernel_layers(run)
        assert not run.rows("SELECT * FROM logs WHERE event = 'collector_failed'")
    assert {layer for layers in known.values() for layer in layers} == {"a", "b", "b.0", "b.0.0", "b.0.1"}
    backward = [layers for (_, kernel), layers in known.items() if "backward" in kernel]
    assert backward
    assert all("a" in layers for layers in backward)
