"""Distances between outputs, and the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from deepseek_prof.optimizer import numerics
from deepseek_prof.optimizer.numerics import Difference, ShapeMismatchError, class_scores, failure, float64_outputs
from deepseek_prof.optimizer.protocol import Call, Captured
from deepseek_prof.optimizer.values import tensors


@dataclass
class Output:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


def compare(
    eager: list[Any], candidate: list[Any], reference: Any, why: str, classes: tuple[str, ...] = ()
) -> Difference:
    first, second = ([dict(tensors(each)) for each in outputs] for outputs in (eager, candidate))
    return numerics.compare(first, second, reference, why, classes)


def test_equal_outputs_have_no_noise() -> None:
    value = [torch.randn(4, 10)]
    found = compare(value, [value[0].clone()], None, "none", ("",))
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
    assert "top-1" in str(failure(compare([eager], [eager.flip(0)], None, "none", ("",)), lossy=True))
    assert failure(compare([eager], [eager.flip(0)], None, "none"), lossy=True) is None


def test_a_large_output_does_not_hide_a_small_one_that_is_wrong() -> None:
    eager = {"features": torch.full((4, 100), 1000.0), "scores": torch.linspace(0, 1, 40)}
    wrong = {"features": eager["features"].clone(), "scores": eager["scores"].flip(0)}
    found = compare([eager], [wrong], None, "none")
    assert found.sqnr_db is not None
    assert found.sqnr_db < 10
    assert "SQNR" in str(failure(found, lossy=True))


def test_an_output_of_zeros_may_be_as_good_as_zero() -> None:
    eager = [torch.ones(8), torch.zeros(8)]
    found = compare([eager], [[torch.ones(8), torch.full((8,), 1e-12)]], None, "none")
    assert failure(found, lossy=True) is None


@pytest.mark.parametrize("lossy", [True, False])
def test_integers_and_booleans_are_held_against_eager_s(lossy: bool) -> None:
    labels = torch.arange(100)
    assert failure(compare([labels], [labels.clone()], None, "none"), lossy=lossy) is None
    assert "not eager's" in str(failure(compare([labels], [labels.flip(0)], None, "none"), lossy=lossy))
    mask = torch.ones(4, dtype=torch.bool)
    assert "not eager's" in str(failure(compare([mask], [~mask], None, "none"), lossy=lossy))


def test_complex_outputs_count() -> None:
    eager = torch.polar(torch.ones(8), torch.linspace(0, 1, 8))
    assert failure(compare([eager], [eager.clone()], None, "none"), lossy=False) is None
    assert failure(compare([eager], [eager.conj()], None, "none"), lossy=True) is not None


def test_infinities_of_another_sign_are_another_result() -> None:
    eager = torch.tensor([math.inf, 1.0])
    assert failure(compare([eager], [eager.clone()], None, "none"), lossy=False) is None
    assert failure(compare([eager], [torch.tensor([-math.inf, 1.0])], None, "none"), lossy=True) is not None


def test_scores_are_what_a_linear_layer_returned_last() -> None:
    def found(*layers: torch.nn.Module) -> frozenset[str]:
        module = torch.nn.Sequential(*layers)
        return class_scores(Captured(module, (Call((torch.randn(3, 8),), {}),), False, "cpu"))

    assert found(torch.nn.Linear(8, 4)) == {""}
    assert found(torch.nn.Linear(8, 1)) == set()
    assert found(torch.nn.Linear(8, 4), torch.nn.Tanh()) == set()


def test_what_cannot_run_in_float64_says_why() -> None:
    class Refuses(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.float64:
                raise TypeError("single precision only")
            return x

    found, why = float64_outputs(Captured(Refuses(), (Call((torch.ones(1),), {}),), False, "cpu"))
    assert found is None
    assert "single precision only" in why
