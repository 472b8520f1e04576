"""Pass ``fold``: what is folded, what must not be, and the code that does the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.passes.fold import Fold
from tests.support.optimizing import apply, captured, convolutional, positional, sqnr_db

EXACT_DB = 100


class Block(nn.Module):
    """A convolution and its normalization; subclasses use them in other ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.norm.running_mean = torch.randn(8)
        self.norm.running_var = torch.rand(8) + 0.5

    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(self.conv(x)).relu()


class KeywordsAndBranches(Block):
    """What no symbolic trace gets through."""

    def forward(self, *, x: torch.Tensor, flip: bool = False) -> Any:  # type: ignore[override]  # by keyword only
        return {"out": super().forward(-x if flip or x.sum() > 0 else x)}


class ReadTwice(Block):
    def forward(self, x: torch.Tensor) -> Any:
        features = self.conv(x)
        return self.norm(features) + features


class ReadThroughView(Block):
    def forward(self, x: torch.Tensor) -> Any:
        features = self.conv(x)
        return self.norm(features).mean() + features[:, :1].mean()


class Returned(Block):
    def forward(self, x: torch.Tensor) -> Any:
        features = self.conv(x)
        return self.norm(features), features


class NormalizedTwice(Block):
    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(self.norm(self.conv(x)))


class TwoNames(Block):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.conv


class ChangedBetween(Block):
    def forward(self, x: torch.Tensor) -> Any:
        return self.norm(self.conv(x).relu_())


def image() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16)


@pytest.fixture(autouse=True)
def no_grad() -> Any:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_same_results_on_fresh_inputs_and_from_the_code() -> None:
    values = torch.randn(2, 3, 32, 32)
    module = convolutional()
    eager = module(values)
    subject = captured(module, positional(torch.randn(2, 3, 32, 32)))
    applied = apply("fold", Fold(), subject)
    assert applied.fired() == "1 of 1 normalizations folded"
    assert sqnr_db(eager, applied.call(values)) > EXACT_DB
    fresh = convolutional()
    expected = fresh(values)
    names = {"torch": torch, "model": fresh}
    exec(handler("fold").code(applied.config), names)
    assert sqnr_db(expected, fresh(values)) > EXACT_DB
    assert not any(isinstance(each, nn.BatchNorm2d) for each in fresh.modules())


def test_what_cannot_be_traced_is_folded() -> None:
    from deepseek_prof.optimizer.protocol import Call

    module = KeywordsAndBranches().eval()
    values = image()
    eager = module(x=values)
    applied = apply("fold", Fold(), captured(module, Call((), {"x": image()})))
    assert applied.config == Fold((("conv", "norm"),))
    assert sqnr_db(eager, applied.call(x=values)) > EXACT_DB


@pytest.mark.parametrize("kind", [ReadTwice, ReadThroughView, Returned, NormalizedTwice, TwoNames, ChangedBetween])
def test_what_folding_would_change_is_refused(kind: type[Block]) -> None:
    subject = captured(kind().eval(), positional(image()))
    assert "goes into a batch normalization alone" in str(handler("fold").refusal(Fold(), subject))


def test_hooks_and_statistics_of_the_batch_are_left_alone() -> None:
    hooked = Block().eval()
    hooked.conv.register_forward_hook(lambda *_: None)
    of_batch = Block().eval()
    of_batch.norm.running_mean = of_batch.norm.running_var = None
    for module in (hooked, of_batch):
        assert handler("fold").refusal(Fold(), captured(module, positional(image()))) is not None


def test_refuses_training_and_modules_without_either() -> None:
    refusal = handler("fold").refusal
    assert "training" in str(refusal(Fold(), captured(Block().train(), positional(image()))))
    assert "no batch" in str(refusal(Fold(), captured(nn.Conv2d(3, 3, 3).eval(), positional(image()))))
    assert "no convolution" in str(refusal(Fold(), captured(nn.BatchNorm2d(3).eval(), positional(image()))))
