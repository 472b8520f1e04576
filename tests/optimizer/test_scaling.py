"""Gradient scaling without a change of the loop: true gradients, small ones kept, overflows skipped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.passes import config_from, handler
from deepseek_prof.optimizer.passes.scaling import scaled
from deepseek_prof.optimizer.protocol import Captured
from tests.support.optimizing import positional


def pair() -> tuple[nn.Linear, nn.Linear]:
    """Two equal layers."""
    torch.manual_seed(0)
    first, second = nn.Linear(16, 4), nn.Linear(16, 4)
    second.load_state_dict(first.state_dict())
    return first, second


def lowered(model: nn.Module) -> None:
    """Run it in float16, with results in float32, as the pass does."""
    wide: Any = model.forward

    def forward(values: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.float16):
            return wide(values).float()

    model.forward = forward


def test_the_loop_sees_true_gradients_also_of_what_it_adds_to_the_loss() -> None:
    plain, subject = pair()
    scaled(subject, torch.optim.SGD(subject.parameters(), lr=0.1), "cpu")
    values = torch.randn(8, 16)
    inputs = [values.clone().requires_grad_() for _ in range(2)]
    for model, given in ((plain, inputs[0]), (subject, inputs[1])):
        for _ in range(2):  # gradients add up
            (model(given).square().mean() + 0.1 * model.weight.square().sum()).backward()
    assert torch.allclose(plain.weight.grad, subject.weight.grad, rtol=1e-6)  # type: ignore[arg-type]  # they exist
    assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=1e-6)  # type: ignore[arg-type]  # they exist


@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_those_without_a_scale(fused: bool) -> None:
    plain, subject = pair()
    optimizers = [torch.optim.AdamW(each.parameters(), lr=0.01, fused=fused) for each in (plain, subject)]
    scaled(subject, optimizers[1], "cpu")
    torch.manual_seed(1)
    for _ in range(5):
        values = torch.randn(8, 16)
        for model, optimizer in zip((plain, subject), optimizers, strict=True):
            optimizer.zero_grad()
            model(values).square().mean().backward()
            optimizer.step()
    assert torch.allclose(plain.weight, subject.weight, rtol=1e-6)


def test_gradients_too_small_for_float16_arrive() -> None:
    plain, subject = pair()
    for model in (plain, subject):
        lowered(model)
    scaled(subject, torch.optim.SGD(subject.parameters(), lr=0.1), "cpu")
    values = torch.randn(8, 16)
    for model in (plain, subject):
        (model(values).sum() * 1e-9).backward()
    assert plain.weight.grad is not None
    assert subject.weight.grad is not None
    assert not plain.weight.grad.any()  # float16 ends at 6e-8
    expected = values.sum(0).expand(4, 16) * 1e-9
    assert torch.allclose(subject.weight.grad, expected, rtol=0.05, atol=1e-10)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_with_infinite_gradients_changes_nothing_and_lowers_the_scale(fused: bool) -> None:
    _, subject = pair()
    optimizer = torch.optim.AdamW(subject.parameters(), lr=0.1, fused=fused)
    steps: list[bool] = []
    optimizer.register_step_post_hook(lambda *_: steps.append(True))
    scaler = scaled(subject, optimizer, "cpu")
    before, scale = subject.weight.detach().clone(), scaler.get_scale()
    (subject(torch.randn(8, 16)).sum() * float("inf")).backward()
    optimizer.step()
    assert torch.equal(subject.weight, before)
    assert scaler.get_scale() == scale / 2
    assert steps == [True]  # who counts steps sees it
    optimizer.zero_grad()
    subject(torch.randn(8, 16)).sum().backward()
    optimizer.step()
    assert not torch.equal(subject.weight, before)


def test_a_closure_is_an_error() -> None:
    _, subject = pair()
    optimizer = torch.optim.SGD(subject.parameters(), lr=0.1)
    scaled(subject, optimizer, "cpu")
    with pytest.raises(TypeError, match="closure"):
        optimizer.step(lambda: 0.0)


def test_float16_needs_one_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_fp16_supported", lambda: True)
    model = nn.Linear(16, 4)
    subject = Captured(model, (positional(torch.randn(2, 16)),), True, "cpu")
    reason = handler("amp").refusal(config_from("amp", {"dtype": "float16"}), subject)
    assert "one optimizer" in str(reason)


def test_the_pass_scales_and_tells_so() -> None:
    model = nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Captured(model, (positional(torch.randn(2, 16)),), True, "cpu", optimizers=(optimizer,))
    applied = handler("amp").apply(config_from("amp", {"dtype": "float16"}), model, subject)
    output = applied.call(torch.randn(2, 16))
    assert output.dtype == torch.float32
    with torch.no_grad():
        assert "float16, gradients scaled by 65536" in str(applied.fired())
