"""The hand-over of a training: a plain program that uses the file learns as it did, and each pass of it is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deepseek_prof.errors import OutputError
from deepseek_prof.narration import Narrator
from deepseek_prof.optimizer.applied_training_file import training_source
from deepseek_prof.optimizer.candidate import Target
from deepseek_prof.optimizer.delivery import deliver_training
from deepseek_prof.optimizer.passes import config_from, handler
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.training_file import AppliedFile, FileHandler
from deepseek_prof.optimizer.training_measure import Plan, TrainingMeasurer
from tests.support.recording import environment

PROGRAM = Path(__file__).parent / "programs" / "trainings.py"
AS_A_USER = """
import importlib, json, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        return x + torch.relu(self.norm(self.conv(x)))

def train(applied):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Sequential(Block(), Block()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    optimizer = torch.optim.AdamW([{"params": model.parameters(), "lr": 3e-3}], weight_decay=0.2)
    data = TensorDataset(torch.randn(128, 3, 12, 12), torch.randint(0, 4, (128,)))
    loader, used = DataLoader(data, 16, shuffle=True), model
    if applied is not None:
        loader = applied.with_workers(loader)
        used = applied.apply(model, optimizer)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4)
    losses = []
    for images, labels in loader:
        loss = nn.functional.cross_entropy(used(images), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    group = optimizer.param_groups[0]
    return losses, {
        "fused": group["fused"], "decay": group["weight_decay"], "rate": group["initial_lr"],
        "workers": loader.num_workers, "threads": torch.get_num_threads(),
        "channels_last": model[0].weight.is_contiguous(memory_format=torch.channels_last),
        "compiled": type(used).__name__,
        "ours": [name for name in sys.modules if name.startswith("deepseek_prof")],
    }

torch.set_num_threads(2)
before, _ = train(None)
sys.path.insert(0, sys.argv[1])
after, facts = train(importlib.import_module("faster"))
print(json.dumps({"before": before, "after": after, **facts}))
"""


def written(folder: Path, *passes: tuple[str, dict[str, Any]]) -> str:
    """The file of these passes, in ``folder``, and its text."""
    chosen = sorted(((handler(name), config_from(name, options)) for name, options in passes), key=lambda e: e[0].order)
    row = CandidateResult(
        tuple(each.name for each, _ in chosen), tuple({} for _ in chosen), "win", None, 1.0,
        code=tuple(each.code(config) for each, config in chosen),
    )  # fmt: skip
    text = training_source('Net"""', row, [], ("measured in a test",))
    (folder / "faster.py").write_text(text)
    return text


def trained(folder: Path) -> dict[str, Any]:
    """What a plain program tells that uses the file."""
    (folder / "train.py").write_text(AS_A_USER)
    done = subprocess.run(
        [sys.executable, str(folder / "train.py"), str(folder)],
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


EXACT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("layout", {}), ("checkpoint", {"blocks": ("1.0", "1.1")}), ("threads", {"intra_op": 1}),
    ("optimizer", {}), ("dataloader", {"num_workers": 1}),
)  # fmt: skip


def test_a_program_that_uses_the_file_learns_as_before(tmp_path: Path) -> None:
    written(tmp_path, *EXACT)
    told = trained(tmp_path)
    assert told["after"] == pytest.approx(told["before"], rel=1e-4)
    assert (told["fused"], told["decay"], told["rate"]) == (True, 0.2, 3e-3)
    assert (told["workers"], told["threads"], told["channels_last"], told["ours"]) == (1, 1, True, [])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_program_learns_in_fewer_bits_with_the_loop_that_it_has(dtype: str, tmp_path: Path) -> None:
    text = written(tmp_path, ("amp", {"dtype": dtype, "training": True}), ("dataloader", {"num_workers": 1}))
    assert ("GradScaler" in text) == (dtype == "float16")
    told = trained(tmp_path)
    assert told["after"] == pytest.approx(told["before"], rel=0.05)
    assert told["after"] != told["before"]


def test_a_compiled_training_is_handed_over(tmp_path: Path) -> None:
    written(tmp_path, ("fuse", {}), ("optimizer", {}), ("dataloader", {"num_workers": 1}))
    told = trained(tmp_path)
    assert told["compiled"] == "OptimizedModule"
    assert told["after"] == pytest.approx(told["before"], rel=1e-3)


def measured(name: str) -> tuple[TrainingMeasurer, CandidateResult]:
    target = Target(
        (sys.executable, str(PROGRAM), name), "Net", 0, True, environment=(("OMP_NUM_THREADS", "1"),)
    )  # fmt: skip
    measurer = TrainingMeasurer(target, Plan(12, 2), prepare_s=90.0)
    return measurer, CandidateResult(("optimizer", "dataloader"), ({}, {"num_workers": 1}), "failed", None, 1.0)


def test_the_file_is_tried_in_a_run_of_the_program(tmp_path: Path) -> None:
    measurer, row = measured("AdamW")
    row = measurer.measure(row, 6, 200.0)
    assert row.speedup is not None, row.reason
    path = tmp_path / "faster.py"
    made = deliver_training(measurer, row, [row], ("measured in a test",), path, Narrator(quiet=True))
    assert made.file == str(path)
    assert made.check.loss_difference is not None
    assert made.check.loss_difference < 1e-3
    assert "def with_workers(loader)" in path.read_text()


@pytest.mark.parametrize(
    ("code", "reason"),
    [("1 / 0", "ZeroDivision"), ("optimizers[0].param_groups[0]['lr'] = 0.0", "loss of step")],
)
def test_a_file_that_does_not_train_as_measured_is_not_written(code: str, reason: str, tmp_path: Path) -> None:
    measurer, row = measured("AdamW")
    row = CandidateResult(("optimizer",), ({},), "win", None, 1.0, code=(code,))
    with pytest.raises(OutputError, match=reason):
        deliver_training(measurer, row, [], (), tmp_path / "faster.py", Narrator(quiet=True))
    assert list(tmp_path.iterdir()) == []


AROUND_A_FUNCTION = """
import torch
from torch.utils._pytree import tree_map


def doubled(value):
    return torch.add(value, value)


def apply(model, *optimizers):
    return lambda *args: torch.compile(tree_map, backend="eager")(doubled, list(args))
"""


def test_what_is_compiled_around_a_function_of_a_file_finds_the_file(tmp_path: Path) -> None:
    """Dynamo imports the module of a function by its name where it meets the function in a frame of another module."""
    (tmp_path / "faster.py").write_text(AROUND_A_FUNCTION)
    captured: Any = SimpleNamespace(module=None, optimizers=[])
    applied = FileHandler().apply(AppliedFile(str(tmp_path / "faster.py"), lossy=False), lambda: None, captured)
    assert applied.call(torch.ones(2), torch.zeros(1))[0].tolist() == [2.0, 2.0]
