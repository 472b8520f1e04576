"""Pass ``fuse``: same results on fresh inputs, weights frozen where it says so, and a proof that can fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.passes.fuse import Fuse
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

FROZEN = Fuse(freezing=True)
EXACT_DB = 100


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    with fresh_compiler():
        yield


@pytest.mark.parametrize("config", [Fuse(), FROZEN], ids=["plain", "frozen"])
def test_same_results_on_fresh_inputs(config: Fuse) -> None:
    module = convolutional()
    with torch.no_grad():
        applied = apply("fuse", config, captured(module, positional(torch.randn(2, 3, 32, 32))))
        for _ in range(3):
            fresh = torch.randn(2, 3, 32, 32)
            assert sqnr_db(module(fresh), applied.call(fresh)) > EXACT_DB
    fired = applied.fired()
    assert fired is not None
    assert fired.startswith("1 graph,")


def test_freezing_makes_constants_of_the_weights() -> None:
    outputs = {}
    for config in (Fuse(), FROZEN):
        torch._dynamo.reset()
        module, values = perceptron(), torch.randn(4, 64)
        with torch.no_grad():
            applied = apply("fuse", config, captured(module, positional(values)))
            for each in module.parameters():
                each.zero_()
            outputs[config] = applied.call(values)
    assert not outputs[Fuse()].any()
    assert outputs[FROZEN].any()


def test_frozen_convolutions_are_packed() -> None:
    with torch.no_grad():
        applied = apply("fuse", FROZEN, captured(convolutional(), positional(torch.randn(2, 3, 32, 32))))
    fired = applied.fired()
    assert fired is not None
    assert int(fired.rsplit(", ", 1)[1].split()[0]) >= 2


def test_does_not_claim_to_have_fired_where_nothing_was_compiled() -> None:
    class Opaque(nn.Module):
        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.sin().cos()

    with torch.no_grad():
        applied = apply("fuse", Fuse(), captured(Opaque(), positional(torch.randn(8))))
    assert applied.fired() is None


def test_refuses_freezing_where_it_would_have_no_effect() -> None:
    fuse = handler("fuse")
    call = positional(torch.randn(4, 64))
    with torch.enable_grad():
        assert "gradients are enabled" in str(fuse.refusal(FROZEN, captured(perceptron(), call)))
    with torch.no_grad():
        assert "training" in str(fuse.refusal(FROZEN, captured(perceptron().train(), call)))
        assert fuse.refusal(Fuse(), captured(perceptron().train(), call)) is None


def test_refuses_what_the_program_compiles_and_gpu_modes_on_cpu() -> None:
    fuse = handler("fuse")
    call = positional(torch.randn(4, 64))
    compiled_in_place = perceptron()
    compiled_in_place.compile()
    for module in (torch.compile(perceptron()), compiled_in_place):
        assert isinstance(module, nn.Module)
        assert "compiles the module itself" in str(fuse.refusal(Fuse(), captured(module, call)))
    for mode in ("reduce-overhead", "max-autotune"):
        assert "CUDA" in str(fuse.refusal(Fuse(mode=mode), captured(perceptron(), call)))


def test_branches_that_depend_on_data_run_between_graphs() -> None:
    module = Branching().eval()
    with torch.no_grad():
        applied = apply("fuse", Fuse(), captured(module, positional(torch.ones(4, 64))))
        for fresh in (torch.rand(4, 64), -torch.rand(4, 64)):
            assert sqnr_db(module(fresh), applied.call(fresh)) > EXACT_DB
    assert int(str(applied.fired()).split()[0]) > 1


def test_tied_weights() -> None:
    module = Tied().eval()
    with torch.no_grad():
        applied = apply("fuse", FROZEN, captured(module, positional(torch.randn(4, 64))))
        fresh = torch.randn(4, 64)
        assert sqnr_db(module(fresh), applied.call(fresh)) > EXACT_DB


def test_inputs_that_the_module_writes_to() -> None:
    module = Mutating().eval()
    with torch.no_grad():
        applied = apply("fuse", FROZEN, captured(module, positional(torch.randn(4, 64))))
        eager, fused = (torch.ones(4, 64) for _ in range(2))
        assert sqnr_db(module(eager), applied.call(fused)) > EXACT_DB
    assert torch.equal(eager, fused)


def test_keywords_and_a_dataclass() -> None:
    module = Structured().eval()
    with torch.no_grad():
        applied = apply("fuse", FROZEN, captured(module, Call((), {"values": torch.randn(4, 64)})))
        fresh = torch.randn(4, 64)
        eager, fused = module(values=fresh), applied.call(values=fresh)
    assert type(fused) is type(eager)
    assert sqnr_db(eager.scores, fused.scores) > EXACT_DB


def test_predicts_a_gain_from_what_can_be_joined() -> None:
    fuse = handler("fuse")
    assert fuse.predicted_gain(Fuse(), Profile({"matmul": 1.0})) == 1.0
    joinable = Profile({"conv": 0.7, "norm": 0.2, "activation": 0.1})
    assert 1 < fuse.predicted_gain(Fuse(), joinable) < fuse.predicted_gain(FROZEN, joinable)


def test_the_code_freezes_as_the_pass_does() -> None:
    names: dict[str, object] = {"torch": torch, "model": perceptron()}
    exec(handler("fuse").code(FROZEN), names)
    values = torch.randn(4, 64)
    compiled = names["model"]
    assert isinstance(compiled, nn.Module)
    with torch.no_grad():
        compiled(values)
        for each in compiled.parameters():
            each.zero_()
        assert compiled(values).any()
