"""Gradient accumulation: gradients of the whole batch from parts of it, and what is refused."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.candidate import Target
from deepseek_prof.optimizer.passes import combine, handler
from deepseek_prof.optimizer.passes.accumulate import Accumulate, in_parts
from deepseek_prof.optimizer.protocol import Call
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.training_measure import Plan, TrainingMeasurer
from tests.support.optimizing import Structured, apply, captured, positional

EXAMPLE = Path(__file__).parents[2] / "examples" / "char_transformer.py"


def perceptron(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Tanh(), *more, nn.Linear(32, 4)).train()


def gradients(module: nn.Module, call: Any, values: torch.Tensor, loss: Any) -> list[torch.Tensor]:
    module.zero_grad()
    loss(call(values)).backward()
    return [each.grad.clone() for each in module.parameters() if each.grad is not None]


@pytest.mark.parametrize("rows", [8, 7])
@pytest.mark.parametrize("loss", [torch.mean, torch.sum, torch.logsumexp])
def test_gradients_are_those_of_the_whole_batch_for_any_loss(rows: int, loss: Any) -> None:
    module = perceptron()
    again = copy.deepcopy(module)
    applied = apply("accumulate", Accumulate(3), captured(again, positional(torch.randn(8, 16))))

    def scalar(output: torch.Tensor) -> torch.Tensor:
        squares = output.square()
        return loss(squares.flatten(), 0) if loss is torch.logsumexp else loss(squares)

    values = torch.randn(rows, 16)
    expected = gradients(module, module, values, scalar)
    for a, b in zip(expected, gradients(again, applied.call, values, scalar), strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)
    assert "3 parts, 3 computed again" in str(applied.fired())


def test_the_last_batch_may_have_fewer_rows_and_evaluation_is_the_program_s() -> None:
    module = perceptron()
    values, plain = torch.randn(2, 16), copy.deepcopy(module)
    in_parts(module, 4)
    assert torch.allclose(module(values), plain(values), rtol=1e-5)
    assert torch.equal(module.eval()(values), plain.eval()(values))


def test_it_fires_only_where_a_backward_pass_came() -> None:
    module = perceptron()
    applied = apply("accumulate", Accumulate(2), captured(module, positional(torch.randn(4, 16))))
    assert applied.fired() is None


class Centered(nn.Module):
    """Rows depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.linear(values - values.mean(0))
        return output


class Summed(Centered):
    """One result for all rows."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.linear(values).sum()
        return output


@pytest.mark.parametrize(
    ("module", "call", "reason"),
    [
        (nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4)), positional(torch.randn(8, 16)), "1 normalizes over"),
        (Centered(), positional(torch.randn(8, 16)), "rows change each other's results"),
        (Summed(), positional(torch.randn(8, 16)), "has no 8 rows"),
        (perceptron(), positional(torch.randn(1, 16)), "fewer than 2 parts"),
        (nn.Bilinear(4, 4, 2), positional(torch.randn(2, 4), torch.randn(1, 4)), "no batch"),
        (Structured().train(), Call((), {"values": torch.randn(8, 64)}), "a Scores cannot be taken in parts"),
        (perceptron().eval(), positional(torch.randn(8, 16)), "not in training"),
    ],
)
def test_what_has_no_parts_is_refused(module: nn.Module, call: Call, reason: str) -> None:
    assert reason in str(handler("accumulate").refusal(Accumulate(), captured(module, call)))


def test_dropout_is_told() -> None:
    applied = apply(
        "accumulate", Accumulate(2), captured(perceptron(nn.Dropout(0.5)), positional(torch.randn(8, 16)))
    )  # fmt: skip
    assert applied.lossy
    assert "random numbers" in applied.notes[0]


def test_it_is_not_joined_with_checkpoints() -> None:
    assert not combine(["checkpoint", "accumulate"])


def test_the_example_learns_alike_in_parts() -> None:
    words = ("--batch", "4", "--length", "16", "--width", "32", "--depth", "2")
    target = Target(
        (sys.executable, str(EXAMPLE), *words), "CharTransformer", 0, True, environment=(("OMP_NUM_THREADS", "1"),)
    )
    row = CandidateResult(("accumulate",), ({"parts": 2},), "failed", None, 1.0)
    row = TrainingMeasurer(target, Plan(24, 2), prepare_s=90.0).measure(row, 6, 200.0)
    assert row.status in ("win", "inconclusive", "slower"), row.reason
    assert not row.lossy
    assert "in_parts(model, 2)" in row.code[0]


def test_the_code_that_is_handed_over_does_the_same() -> None:
    module = perceptron()
    again = copy.deepcopy(module)
    exec(handler("accumulate").code(Accumulate(2)), {"model": again, "torch": torch})  # what is handed over
    values = torch.randn(8, 16)
    expected, found = (gradients(each, each, values, torch.mean) for each in (module, again))
    for a, b in zip(expected, found, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-7)
    assert again.forward.__name__ == "forward_in_parts"
