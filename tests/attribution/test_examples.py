"""At least 95 % of backward operator time carries a layer, on every example and on a Hugging Face BERT."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.attribution.conftest import EXAMPLES, PROGRAMS, Recorded

Recorder = Callable[..., Recorded]
ENOUGH = 0.95


@pytest.mark.parametrize("example", ["char_transformer", "residual_digits", "data_bound", "gan_digits", "ddp_gloo"])
def test_backward_time_of_an_example_carries_layers(recorded: Recorder, example: str) -> None:
    run = recorded([sys.executable, str(EXAMPLES / f"{example}.py"), "--steps", "12"])
    assert run.share("backward") >= ENOUGH
    assert run.steps() == 12


def test_backward_time_of_two_processes_carries_layers(recorded: Recorder) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run = recorded([*launch, str(EXAMPLES / "ddp_gloo.py"), "--steps", "12"])
    assert run.share("backward") >= ENOUGH
    ranks = run.rows(
        "SELECT rank, count(DISTINCT pid) FROM mine WHERE layer = 'Sequential' GROUP BY rank ORDER BY rank"
    )
    assert ranks == [(0, 1), (1, 1)]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_backward_time_of_bert_carries_layers(recorded: Recorder, attention: str) -> None:
    run = recorded([sys.executable, str(PROGRAMS / "bert.py"), "small", attention, "6"])
    assert run.share("backward") >= ENOUGH
    layers = set(run.carried("%mm%", "backward"))
    assert {f"bert.encoder.layer.{i}.attention.self.query" for i in (0, 1)} <= layers
    assert "cls.predictions.decoder" in layers
