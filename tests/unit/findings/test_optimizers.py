"""Rules on what the optimizer does."""

from __future__ import annotations

import pytest

from deepseek_prof.analysis.findings.gradient_zeroing import gradient_zeroing
from deepseek_prof.analysis.findings.optimizer_on_cpu import SAVED, optimizer_on_cpu
from tests.support.synthetic_step import StepTemplate
from tests.unit.findings.conftest import Record
from tests.unit.findings.drawing import Draw, autograd, operator, product, scope

_LOOP = (("aten::lerp_", 5.0, 10), ("aten::addcmul_", 5.0, 10), ("aten::sqrt", 5.0, 10))
_FOREACH = (("aten::_foreach_lerp_", 50.0, 1), *_LOOP)


def _stepping(name: str, operators: tuple[tuple[str, float, int], ...], *, other_us: float = 850) -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, other_us)
        scope(step, f"Optimizer.step#{name}.step", operators)

    return draw


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_a_loop_over_parameters_is_found(record: Record, name: str) -> None:
    found = optimizer_on_cpu(record(_stepping(name, _LOOP)))
    assert found is not None
    low, high = SAVED[name]
    assert (found.gain_low, found.gain_high) == pytest.approx((low * 0.15, high * 0.15), rel=0.02)
    assert "a loop over the parameters" in found.title
    assert "30 operators a call" in found.evidence[1]
    assert f"torch.optim.{name}(…, fused=True)" in found.advice


def test_foreach_is_told_from_a_loop(record: Record) -> None:
    found = optimizer_on_cpu(record(_stepping("AdamW", _FOREACH)))
    assert found is not None
    assert "foreach" in found.title


@pytest.mark.parametrize(
    "draw",
    [
        _stepping("AdamW", (("aten::_fused_adamw_", 150, 1), ("aten::add_", 2, 12))),
        _stepping("Lion", _LOOP),
        _stepping("AdamW", _LOOP, other_us=5000),
        _stepping("AdamW", (("aten::lerp_", 50, 3), ("aten::sqrt", 50, 3))),
        _stepping("SGD", (("aten::add_", 20, 12),)),
        _stepping("SGD", (("aten::_foreach_add_", 10, 1), ("aten::add_", 20, 12))),
    ],
    ids=["fused", "no fused kernel", "little time", "few operators", "one pass", "one pass by foreach"],
)
def test_other_optimizers_are_none(record: Record, draw: Draw) -> None:
    assert optimizer_on_cpu(record(draw)) is None


def test_sgd_with_momentum_goes_over_memory_twice(record: Record) -> None:
    found = optimizer_on_cpu(record(_stepping("SGD", (("aten::mul_", 10, 10), ("aten::add_", 10, 20)))))
    assert found is not None
    assert found.rule == "optimizer-on-cpu"


def test_cuda_has_its_own_foreach(record: Record) -> None:
    def draw(step: StepTemplate, index: int) -> None:
        _stepping("AdamW", _LOOP)(step, index)
        operator(step, "cudaLaunchKernel", 1)

    assert optimizer_on_cpu(record(draw)) is None


def _zeroing(operators: tuple[tuple[str, float, int], ...], added_us: float = 0) -> Draw:
    def draw(step: StepTemplate, _: int) -> None:
        product(step, 900)
        if added_us:
            autograd(step, "torch::autograd::AccumulateGrad", (("aten::add_", added_us),))
        scope(step, "Optimizer.zero_grad#AdamW.zero_grad", operators)

    return draw


def test_zeroed_gradients_are_found_with_the_additions_to_them(record: Record) -> None:
    found = gradient_zeroing(record(_zeroing((("aten::zero_", 10, 5),), added_us=50)))
    assert found is not None
    assert (found.gain_low, found.gain_high) == pytest.approx((0.045, 0.095), rel=0.02)
    assert "fills 5 tensors a step" in found.evidence[0]


@pytest.mark.parametrize(
    "operators", [(), (("aten::zero_", 3, 5),), (("aten::detach", 10, 5),)], ids=["dropped", "little time", "other"]
)
def test_dropped_gradients_are_none(record: Record, operators: tuple[tuple[str, float, int], ...]) -> None:
    assert gradient_zeroing(record(_zeroing(operators))) is None
