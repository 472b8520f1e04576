"""Labels of CUDA allocations in a real program under the real recorder; only PyTorch's two functions are stand-ins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.recording import run_cli, write_program

_PROGRAM = """
    import json, threading
    import torch
    from deepseek_prof.collectors import child
    from deepseek_prof.collectors.memory_labels import LayerLabels

    kept = threading.local()
    seen = []

    def get():
        return getattr(kept, "label", "")

    def put(label):
        kept.label = label

    class Layer(torch.nn.Linear):
        def forward(self, x):
            seen.append((threading.current_thread().name, get()))
            return super().forward(x)

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = Layer(4, 4)
        def forward(self, x):
            x = self.fc(x)
            seen.append(("after", get()))
            return x

    model = torch.nn.Sequential(Block(), Layer(4, 4))
    torch._C._cuda_getMemoryMetadata, torch._C._cuda_setMemoryMetadata = get, put
    attachment = child.current()
    LayerLabels(attachment.recorder, lambda: attachment.position()[2], attachment.warn).begin()
"""


def _labels(tmp_path: Path, body: str) -> tuple[Any, bytes]:
    program = write_program(tmp_path, _PROGRAM + body + '\n    json.dump(seen, open("seen.json", "w"))\n')
    done = run_cli("run", "--output", str(tmp_path / "run"), str(program), cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads((tmp_path / "seen.json").read_text()), done.stderr


def test_each_layer_labels_what_it_allocates_on_its_thread(tmp_path: Path) -> None:
    body = """
    model(torch.ones(1, 4)).sum().backward()
    seen.append(("outside", get()))
    thread = threading.Thread(target=lambda: model[1](torch.ones(1, 4)), name="other")
    thread.start(); thread.join()
    seen.append(("outside", get()))
    """
    seen, _ = _labels(tmp_path, body)
    assert seen[:4] == [
        ["MainThread", "layer: 0.fc"],
        ["after", "layer: 0"],
        ["MainThread", "layer: 1"],
        ["outside", ""],
    ]
    name, label = seen[4]
    assert name == "other"
    assert label.startswith("layer: ")
    assert seen[5] == ["outside", ""]


def test_a_label_of_the_programs_own_stays(tmp_path: Path) -> None:
    body = """
    put("mine")
    model(torch.ones(1, 4))
    seen.append(("outside", get()))
    """
    seen, _ = _labels(tmp_path, body)
    assert {label for _, label in seen} == {"mine"}


def test_a_label_of_the_programs_own_that_it_takes_away_leaves_the_layers(tmp_path: Path) -> None:
    body = """
    class Labelled(Layer):
        def forward(self, x):
            put("mine")
            x = super().forward(x)
            put("")
            return x
    model[0].fc = Labelled(4, 4)
    model(torch.ones(1, 4))
    """
    seen, _ = _labels(tmp_path, body)
    assert seen == [["MainThread", "mine"], ["after", "layer: 0"], ["MainThread", "layer: 1"]]


def test_a_torch_that_refuses_costs_the_labels_only(tmp_path: Path) -> None:
    body = """
    def refuse():
        raise RuntimeError("no such allocator")
    torch._C._cuda_getMemoryMetadata = refuse
    for _ in range(3): model(torch.ones(1, 4))
    """
    # `get` itself still works for what is noted.
    seen, stderr = _labels(tmp_path, body)
    assert {label for _, label in seen} == {""}
    assert stderr.count(b"the memory snapshot has no more layers: RuntimeError: no such allocator") == 1
