"""Pass ``quantize``: int8 kernels, close to eager on fresh inputs, with damaged layers back in float."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.passes.quantize import MAX_SIGNATURES, Quantize
from deepseek_prof.optimizer.protocol import Call, Profile
from tests.support.optimizing import (
    Branching,
    Mutating,
    Structured,
    Tied,
    apply,
    captured,
    convolutional,
    fresh_compiler,
    perceptron,
    positional,
    sqnr_db,
)

LOSSY_DB = 20


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    with fresh_compiler(), torch.no_grad():
        yield


class Damaged(nn.Module):
    """Layer ``wide`` reads one channel a thousand times as large as the others, which 8 bits cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 16)
        scales = torch.ones(64)
        scales[0] = 1000
        self.register_buffer("scales", scales)
        self.wide.weight.data[:, 0] /= 1000

    def forward(self, values: torch.Tensor) -> Any:
        return self.last(self.wide(self.first(values).tanh() * self.scales))


def test_static_convolutions_and_products_in_int8() -> None:
    module = convolutional()
    applied = apply("quantize", Quantize(), captured(module, positional(torch.randn(8, 3, 32, 32))))
    assert applied.fired() == "3 of 3 products in int8 kernels"
    assert applied.kept_in_float == ()
    for _ in range(3):
        fresh = torch.randn(8, 3, 32, 32)
        assert LOSSY_DB < sqnr_db(module(fresh), applied.call(fresh)) < 80


@pytest.mark.parametrize("kind", ["dynamic", "weight_only"])
def test_other_kinds(kind: str) -> None:
    module = perceptron()
    fresh = torch.randn(8, 64)
    eager = module(fresh)
    applied = apply("quantize", Quantize(kind), captured(module, positional(torch.randn(8, 64))))
    assert LOSSY_DB < sqnr_db(eager, applied.call(fresh)) < 80
    assert str(applied.fired()).startswith("3 ")


def test_the_damaged_layer_goes_back_to_float_and_is_named() -> None:
    module = Damaged().eval()
    subject = captured(module, positional(torch.randn(32, 64)))
    applied = apply("quantize", Quantize(), subject)
    assert applied.kept_in_float == ("wide",)
    assert applied.config == Quantize(keep=("wide",))
    assert applied.fired() == "2 of 2 products in int8 kernels"
    fresh = torch.randn(32, 64)
    assert sqnr_db(module(fresh), applied.call(fresh)) > LOSSY_DB


def test_fails_where_no_layer_can_stay_in_int8() -> None:
    with pytest.raises(ValueError, match="int8 in one layer alone"):
        apply("quantize", Quantize(min_sqnr_db=200), captured(perceptron(), positional(torch.randn(8, 64))))


def test_layers_that_are_to_stay_in_float() -> None:
    applied = apply("quantize", Quantize(keep=("0", "2")), captured(perceptron(), positional(torch.randn(8, 64))))
    assert applied.kept_in_float == ("0", "2")
    assert applied.fired() == "1 of 1 products in int8 kernels"


def test_every_signature_has_a_graph_and_any_other_runs_in_float() -> None:
    module = perceptron()
    applied = apply("quantize", Quantize(), captured(module, *(positional(torch.randn(n, 64)) for n in (4, 8))))
    assert applied.fired() == "6 of 6 products in int8 kernels"
    for rows in (4, 8):
        fresh = torch.randn(rows, 64)
        assert LOSSY_DB < sqnr_db(module(fresh), applied.call(fresh)) < 80
    other = torch.randn(5, 64)
    assert torch.equal(applied.call(other), module(other))


def test_tied_weights_and_written_inputs() -> None:
    for module in (Tied().eval(), Mutating().eval()):
        torch._dynamo.reset()
        applied = apply("quantize", Quantize(), captured(module, positional(torch.randn(8, 64))))
        eager, candidate = (torch.linspace(-1, 1, 512).reshape(8, 64) for _ in range(2))
        assert sqnr_db(module(eager), applied.call(candidate)) > LOSSY_DB
        assert torch.equal(eager, candidate)
        products = sum(isinstance(each, nn.Linear) for each in module.modules())
        assert applied.fired() == f"{products} of {products} products in int8 kernels"


def test_what_cannot_be_exported_fails_with_the_reason() -> None:
    with pytest.raises(Exception, match="data-dependent"):
        apply("quantize", Quantize(), captured(Branching().eval(), positional(torch.ones(4, 64))))


def test_refuses_to_export_a_dataclass_and_names_it() -> None:
    subject = captured(Structured().eval(), Call((), {"values": torch.ones(4, 64)}))
    for kind in ("static", "dynamic"):
        assert "Scores goes in or out, a dataclass" in str(handler("quantize").refusal(Quantize(kind), subject))
    assert handler("quantize").refusal(Quantize("weight_only"), subject) is None


def test_a_dataclass_that_the_program_registers_is_quantized() -> None:
    @dataclasses.dataclass
    class Registered:
        scores: torch.Tensor

    class Registering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 16)

        def forward(self, values: torch.Tensor) -> Any:
            return Registered(self.linear(values))

    torch.export.register_dataclass(Registered)
    module, fresh = Registering().eval(), torch.randn(8, 64)
    applied = apply("quantize", Quantize(), captured(module, positional(torch.randn(8, 64))))
    found = applied.call(fresh)
    assert isinstance(found, Registered)
    assert sqnr_db(module(fresh), found) > LOSSY_DB
    assert applied.fired() == "1 of 1 products in int8 kernels"


def test_refuses_training_gradients_other_weights_and_too_many_shapes() -> None:
    refusal = handler("quantize").refusal
    call = positional(torch.randn(4, 64))
    assert "training" in str(refusal(Quantize(), captured(perceptron().train(), call)))
    assert "float32" in str(refusal(Quantize(), captured(perceptron().bfloat16(), call)))
    assert "no Linear or Conv2d" in str(refusal(Quantize(), captured(nn.LayerNorm(64).eval(), call)))
    assert "no Linear layer" in str(refusal(Quantize("dynamic"), captured(nn.Conv2d(3, 3, 3).eval(), call)))
    many = [positional(torch.randn(n, 64)) for n in range(1, MAX_SIGNATURES + 2)]
    assert "different inputs" in str(refusal(Quantize(), captured(perceptron(), *many)))
    with torch.enable_grad():
        assert "gradients" in str(refusal(Quantize(), captured(perceptron(), call)))


@pytest.mark.parametrize("kind", ["static", "dynamic", "weight_only"])
def test_refuses_what_the_program_compiles(kind: str) -> None:
    module = torch.compile(perceptron())
    assert isinstance(module, nn.Module)
    refused = handler("quantize").refusal(Quantize(kind), captured(module, positional(torch.randn(4, 64))))
    assert refused == "the program compiles the module itself"


def test_predicts_a_gain_from_the_products() -> None:
    predicted = handler("quantize").predicted_gain
    profile = Profile({"conv": 0.5, "matmul": 0.3})
    assert predicted(Quantize(), profile) > predicted(Quantize("dynamic"), profile) > 1
    assert predicted(Quantize(), Profile({"norm": 1.0})) == 1.0


@pytest.mark.parametrize("kind", ["static", "weight_only"])
def test_the_code_gives_what_the_pass_gives(kind: str) -> None:
    example = (torch.randn(8, 64),)
    module = perceptron()
    names = {"torch": torch, "model": perceptron(), "calls": [(example, {})]}
    names["model"].load_state_dict(module.state_dict())  # type: ignore[attr-defined]
    applied = apply("quantize", Quantize(kind), captured(module, positional(*example)))
    expected = applied.call(*example)
    torch._dynamo.reset()
    exec(handler("quantize").code(Quantize(kind)), names)
    assert torch.equal(names["model"](*example), expected)  # type: ignore[operator]
