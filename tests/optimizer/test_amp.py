"""Pass ``amp``: lower precision where autocast applies, and nowhere that it must not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.passes.amp import Amp
from deepseek_prof.optimizer.passes.fuse import Fuse
from deepseek_prof.optimizer.protocol import Profile
from tests.support.optimizing import captured, convolutional, fresh_compiler, perceptron, positional, sqnr_db

LOSSY_DB = 30


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    with fresh_compiler():
        yield


def test_close_on_fresh_inputs_but_not_the_same() -> None:
    module = convolutional()
    subject = captured(module, positional(torch.randn(2, 3, 32, 32)))
    with torch.no_grad():
        applied = handler("amp").apply(Amp(), module, subject)
        fresh = torch.randn(2, 3, 32, 32)
        assert LOSSY_DB < sqnr_db(module(fresh), applied.call(fresh)) < 80
        assert " operators gave bfloat16" in str(applied.fired())
    assert applied.notes


def test_compiled_under_autocast() -> None:
    module = convolutional()
    subject = captured(module, positional(torch.randn(2, 3, 32, 32)))
    with torch.no_grad():
        lowered = handler("amp").apply(Amp(), module, subject)
        fused = handler("fuse").apply(Fuse(freezing=True), lowered.call, subject)
        fresh = torch.randn(2, 3, 32, 32)
        assert LOSSY_DB < sqnr_db(module(fresh), fused.call(fresh)) < 80
        assert lowered.fired()
        assert str(fused.fired()).startswith("1 graph,")


def test_does_not_claim_to_have_fired_without_products() -> None:
    module = nn.Sequential(nn.LayerNorm(64), nn.Softmax(-1)).eval()
    subject = captured(module, positional(torch.randn(4, 64)))
    with torch.no_grad():
        applied = handler("amp").apply(Amp(), module, subject)
        applied.call(torch.randn(4, 64))
        assert applied.fired() is None


def test_the_proof_leaves_the_captured_inputs_alone() -> None:
    class Writing(nn.Linear):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return super().forward(values.mul_(2))

    module, values = Writing(64, 16).eval(), torch.ones(4, 64)
    with torch.no_grad():
        applied = handler("amp").apply(Amp(), module, captured(module, positional(values)))
        assert applied.fired()
    assert torch.equal(values, torch.ones(4, 64))


def test_refuses_other_weights_and_autocast_of_the_program() -> None:
    amp = handler("amp")
    call = positional(torch.randn(4, 64))
    assert "float64" in str(amp.refusal(Amp(), captured(perceptron().double(), call)))
    assert "none" in str(amp.refusal(Amp(), captured(nn.ReLU(), call)))
    with torch.autocast("cpu", torch.bfloat16):
        assert "autocast already" in str(amp.refusal(Amp(), captured(perceptron(), call)))


def test_refuses_types_that_the_hardware_emulates(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_amx_fp16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    subject = captured(perceptron(), positional(torch.randn(4, 64)))
    for dtype in ("bfloat16", "float16"):
        assert f"no {dtype} products" in str(handler("amp").refusal(Amp(dtype), subject))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert handler("amp").refusal(Amp(), subject) is None


def test_a_compiled_module_is_not_wrapped() -> None:
    module = torch.compile(perceptron())
    assert isinstance(module, nn.Module)
    with pytest.raises(TypeError, match="compiled already"):
        handler("amp").apply(Amp(), module, captured(module, positional(torch.randn(4, 64))))


def test_refuses_what_the_program_compiles() -> None:
    whole, inside = torch.compile(perceptron()), nn.Sequential(perceptron())
    inside[0].compile()
    assert isinstance(whole, nn.Module)
    for module in (whole, inside):
        refused = handler("amp").refusal(Amp(), captured(module, positional(torch.randn(4, 64))))
        assert refused == "the program compiles the module itself"


def test_predicts_a_gain_from_the_products() -> None:
    amp = handler("amp")
    assert amp.predicted_gain(Amp(), Profile({"norm": 1.0})) == 1.0
    assert amp.predicted_gain(Amp(), Profile({"matmul": 0.5})) < amp.predicted_gain(Amp(), Profile({"matmul": 0.9}))


def test_the_code_does_what_the_pass_does() -> None:
    module, values = perceptron(), torch.randn(4, 64)
    with torch.no_grad():
        expected = handler("amp").apply(Amp(), module, captured(module, positional(values))).call(values)
        names = {"torch": torch, "model": module}
        exec(handler("amp").code(Amp()), names)
        assert torch.equal(module(values), expected)
    assert expected.dtype == torch.bfloat16
