"""Distances between outputs, and the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from deepseek_prof.optimizer.numerics import ShapeMismatchError, compare, failure, float64_outputs
from deepseek_prof.optimizer.protocol import Call, Captured


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


def test_equal_outputs_have_no_noise() -> None:
    value = [torch.randn(4, 10)]
    found = compare(value, [value[0].clone()], None, "none")
    assert (found.sqnr_db, found.max_abs, found.top1) == (None, 0.0, 1.0)
    assert found.cosine == pytest.approx(1)
    assert failure(found, lossy=False) is None


def test_sqnr_is_that_of_its_definition() -> None:
    eager = torch.ones(100)
    found = compare([eager], [eager + 0.01], None, "none")
    assert found.sqnr_db == pytest.approx(40, abs=0.01)
    assert found.top1 is None


def test_outputs_in_dataclasses_count() -> None:
    value = Output(torch.ones(2, 3), (torch.zeros(2), torch.ones(2)))
    other = Output(torch.ones(2, 3), (torch.zeros(2), torch.full((2,), 3.0)))
    assert compare([value], [other], None, "none").max_abs == 2


def test_another_structure_is_an_error() -> None:
    with pytest.raises(ShapeMismatchError, match="eager returns"):
        compare([torch.ones(2)], [torch.ones(3)], None, "none")
    with pytest.raises(ShapeMismatchError):
        compare([(torch.ones(2), torch.ones(2))], [torch.ones(2)], None, "none")


def test_nan_where_eager_is_finite_fails_both_gates() -> None:
    found = compare([torch.ones(2, 4)], [torch.tensor([[1.0, math.nan, 1, 1], [1, 1, 1, 1]])], None, "none")
    assert failure(found, lossy=False) is not None
    assert failure(found, lossy=True) is not None


def test_the_exact_gate_goes_by_float64_and_the_lossy_one_does_not() -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(64, 10).eval()
    call = Call((torch.randn(32, 64),), {})
    reference, why = float64_outputs(Captured(module, (call,), False, "cpu"))
    assert why == "float64"
    eager = module(*call.args)
    sound = compare([eager], [eager + 1e-8], reference, why)
    coarse = compare([eager], [eager + 1e-3], reference, why)
    assert failure(sound, lossy=False) is None
    assert failure(coarse, lossy=False) is not None
    assert failure(coarse, lossy=True) is None


def test_other_predictions_fail_the_lossy_gate() -> None:
    eager = torch.eye(4) * 1e-3 + 1
    assert "top-1" in str(failure(compare([eager], [eager.flip(0)], None, "none"), lossy=True))


def test_what_cannot_run_in_float64_says_why() -> None:
    class Refuses(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float64:
                raise TypeError("single precision only")
            return x

    found, why = float64_outputs(Captured(Refuses(), (Call((torch.ones(1),), {}),), False, "cpu"))
    assert found is None
    assert "single precision only" in why
