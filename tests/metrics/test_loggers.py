"""Figures that programs tell to loggers, taken without a change of the program."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from deepseek_prof.collectors.logged_numbers import numbers_in
from tests.metrics.test_losses import PROGRAMS, counted
from tests.support.recording import run_both, write_program

TOLD = {
    "val_loss": [1.0, 0.5, 0.333, 0.25, 0.2],
    "top1": [50.0, 51.0, 52.0, 53.0, 54.0],
    "train_loss": [2.0, 1.0, 0.0, -1.0, -2.0],
    "accuracy": [0.0, 0.25, 0.5, 0.75, 1.0],
    "latency": [0.0, 1.0, 2.0, 3.0, 4.0],
    "odd [bold] \x1b[31m'; DROP": [0.0, 1.0, 2.0, 3.0, 4.0],
}
WRITTEN = {
    "eval/f1": [0.5, 1.5, 2.5, 3.5, 4.5],
    "parts/a": [0.0, 1.0, 2.0, 3.0, 4.0],
    "parts/b": [0.0, 2.0, 4.0, 6.0, 8.0],
}


@pytest.mark.parametrize("writer", ["", "tensorboardX", "tensorboard"])
def test_figures_of_loggers_are_counters(writer: str, tmp_path: Path) -> None:
    if writer:
        pytest.importorskip(writer)
    pair = run_both([str(PROGRAMS / "loggers.py"), writer], tmp_path)
    pair.assert_same()
    assert counted(pair.run_dir) == (TOLD | WRITTEN if writer else TOLD)


def test_what_transformers_trainer_logs_is_a_metric(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    program = write_program(
        tmp_path,
        """
        import torch
        from transformers import Trainer, TrainingArguments

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.line = torch.nn.Linear(4, 1)
            def forward(self, x, labels):
                out = self.line(x)
                return {"loss": (out - labels).square().mean(), "logits": out}

        torch.manual_seed(0)
        data = [{"x": torch.randn(4), "labels": torch.zeros(1)} for _ in range(32)]
        arguments = TrainingArguments("out", max_steps=8, logging_steps=2, report_to=[], save_strategy="no",
                                      use_cpu=True, disable_tqdm=True)
        Trainer(Net(), arguments, train_dataset=data).train()
        """,
    )
    pair = run_both([str(program)], tmp_path)
    found = counted(pair.run_dir)
    assert len(found["loss"]) == 8
    assert len(found["loss (Trainer)"]) == 4
    assert len(found["grad_norm"]) == 4


def test_callbacks_of_transformers_are_heard(tmp_path: Path) -> None:
    program = write_program(
        tmp_path,
        """
        import torch
        from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState
        handler = CallbackHandler([], torch.nn.Linear(1, 1), None, None, None)
        for step in range(3):
            logs = {"loss": 1.0 / (step + 1), "epoch": step, "total_flos": 1e9, "note": "text"}
            handler.on_log(None, TrainerState(), TrainerControl(), logs)
        print(logs)
        """,
    )
    pair = run_both([str(program)], tmp_path)
    pair.assert_same()
    assert counted(pair.run_dir) == {"loss": [1.0, 1 / 2, 1 / 3]}


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("step 12 | loss: 2.5e-1 | lr 1e-3 | acc=93%", {"loss": 0.25, "acc": 93.0}),
        ("{'loss': 0.69, 'grad_norm': 1.2, 'epoch': 0.5}", {"loss": 0.69, "grad_norm": 1.2}),
        ("train/loss=nan", {"train/loss": float("nan")}),
        ("Loss: -inf", {"Loss": float("-inf")}),
        ("loss=0.5.1 lossless=3 closs_file=/tmp/3", {}),
        ("error: 404 at http://host:8080/error=5", {"error": 404.0}),
        ("MASTER_PORT=29500 world_size=8", {}),
        ("loss=" * 3000, {}),
    ],
)
def test_figures_in_a_text(text: str, figures: dict[str, float]) -> None:
    record = logging.LogRecord("app", logging.INFO, "file.py", 1, text, (), None)
    assert repr(numbers_in(record)) == repr(figures)


def test_a_mapping_keeps_its_numbers() -> None:
    record = logging.LogRecord("app", logging.INFO, "file.py", 1, "%s", ({"loss": 0.5, "name": "x"},), None)
    assert numbers_in(record) == {"loss": 0.5}
