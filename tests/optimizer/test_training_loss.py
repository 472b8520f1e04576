"""What counts as learning alike."""

from __future__ import annotations

import json
import math

import pytest

from deepseek_prof.optimizer.training_loss import FLOOR, ROUNDING_FACTOR, TOLERANCE, Curves, LossComparison, compare

EAGER = [[4.0 - 0.05 * step] for step in range(40)]


def compared(candidate: list[list[float]], control: list[list[float]] | None = None, *, lossy: bool) -> LossComparison:
    return compare(Curves(EAGER, EAGER if control is None else control, candidate), lossy=lossy)


def scaled(factor: float, since: int = 0) -> list[list[float]]:
    return [[each * (factor if step >= since else 1)] for step, (each,) in enumerate(EAGER)]


@pytest.mark.parametrize(("factor", "fails"), [(1.0, False), (1 + FLOOR / 2, False), (1 + 2 * FLOOR, True)])
def test_without_noise_an_exact_pass_may_differ_by_rounding_only(factor: float, fails: bool) -> None:
    found = compared(scaled(factor), lossy=False)
    assert (found.failure is not None) == fails
    assert found.within_noise == (not fails)


@pytest.mark.parametrize(("times", "fails"), [(ROUNDING_FACTOR / 2, False), (2 * ROUNDING_FACTOR, True)])
def test_noise_of_eager_widens_what_an_exact_pass_may_differ(times: float, fails: bool) -> None:
    found = compared(scaled(1 + times * 1e-4), scaled(1 + 1e-4), lossy=False)
    assert (found.failure is not None) == fails
    assert found.noise == pytest.approx(1e-4)


def test_noise_that_excuses_everything_leaves_the_mean() -> None:
    found = compared(scaled(1.2), scaled(1.5), lossy=False)
    assert found.within_noise
    assert "mean loss" in str(found.failure)


@pytest.mark.parametrize(("since", "cause"), [(0, "seed"), (20, "rounding")])
def test_loud_noise_is_told_with_its_cause(since: int, cause: str) -> None:
    (note,) = compared(EAGER, scaled(1.05, since), lossy=False).notes
    assert cause in note


def test_later_noise_does_not_excuse_an_early_difference() -> None:
    found = compared(scaled(1.0005), scaled(1.01, since=30), lossy=False)
    assert found.failure is not None
    assert "step 0" in found.failure


@pytest.mark.parametrize(("factor", "fails"), [(1 + TOLERANCE / 2, False), (1.2, True), (0.8, True)])
def test_a_lossy_pass_may_differ_by_the_tolerance_of_later_steps(factor: float, fails: bool) -> None:
    found = compared(scaled(factor), lossy=True)
    assert (found.failure is not None) == fails
    assert not found.within_noise


def test_other_samples_of_the_same_kind_pass_the_lossy_gate_and_not_the_exact_one() -> None:
    jumping = [[each + (0.3 if step % 2 else -0.3)] for step, (each,) in enumerate(EAGER)]
    assert compared(jumping, lossy=True).failure is None
    assert compared(jumping, lossy=False).failure is not None


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_fails_where_eager_has_one(value: float, lossy: bool) -> None:
    found = compared([*EAGER[:30], *[[value]] * 10], lossy=lossy)
    assert found.failure is not None
    json.dumps(found.as_json(), allow_nan=False)


def test_eager_that_diverges_is_matched_by_a_candidate_that_does() -> None:
    diverged = [*EAGER[:30], *[[math.nan]] * 10]
    assert compare(Curves(diverged, diverged, diverged), lossy=False).failure is None


def test_other_backward_passes_are_another_training() -> None:
    found = compared([[each / 2, each / 2] for (each,) in EAGER], lossy=True)
    assert found.failure == "other backward passes"


def test_runs_are_compared_as_far_as_all_went() -> None:
    assert compared(EAGER[:25], lossy=False).steps == 25
