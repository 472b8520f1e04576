"""The intervals hold the truth as often as they claim, for few steps, skewed noise and slow moments too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from deepseek_prof.analysis.bootstrap import MIN_STEPS, STATISTICS, differences, student_quantile

ENTRIES = 2_000
Noise = npt.NDArray[np.float64]


def normal(steps: int, generator: np.random.Generator) -> Noise:
    return generator.normal(100, 10, size=(steps, ENTRIES))


def skewed(steps: int, generator: np.random.Generator) -> Noise:
    return 100 + generator.gamma(2, 10, size=(steps, ENTRIES))


def lasting(steps: int, generator: np.random.Generator) -> Noise:
    """A slow moment of the machine fades by half each step."""
    found = generator.normal(0, 10, size=(steps + 20, ENTRIES))
    for step in range(1, len(found)):
        found[step] += 0.5 * found[step - 1]
    return 100 + found[20:]


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("noise", [normal, skewed, lasting])
@pytest.mark.parametrize("steps", [(10, 10), (40, 25), (150, 150)])
def test_of_equal_runs_at_most_a_few_percent_more_than_one_in_twenty_differ(
    statistic: str, noise: object, steps: tuple[int, int]
) -> None:
    generator = np.random.default_rng(3)
    before, after = (noise(count, generator) for count in steps)  # type: ignore[operator]  # one of the functions above
    found = differences(before, after, statistic)
    wrong = float(((found.low > 0) | (found.high < 0)).mean())
    # Lasting noise in ten steps cannot be told from a difference: there the claim is weaker.
    assert wrong <= (0.12 if noise is lasting and min(steps) == 10 else 0.08)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_difference_of_two_spreads_is_found(statistic: str) -> None:
    generator = np.random.default_rng(4)
    found = differences(normal(30, generator), normal(30, generator) + 20, statistic)
    assert float((found.low > 0).mean()) > 0.98
    assert float(((found.low < 20) & (found.high > 20)).mean()) > 0.92


def test_the_same_samples_give_the_same_interval() -> None:
    generator = np.random.default_rng(5)
    before, after = normal(20, generator), normal(20, generator)
    first, second = differences(before, after), differences(before, after)
    assert np.array_equal(first.low, second.low)
    assert not np.array_equal(first.low, differences(before, after, seed=1).low)
    # An entry's interval does not depend on what else is compared, be it in another chunk.
    alone = differences(before[:, -1:], after[:, -1:])
    assert alone.low[0] == pytest.approx(first.low[-1])


def test_constant_samples_have_intervals_of_no_width() -> None:
    found = differences(np.full((9, 1), 3.0), np.full((9, 1), 5.0))
    assert (found.before[0], found.after[0], found.low[0], found.high[0]) == pytest.approx((3, 5, 2, 2))


def test_few_steps_have_no_interval() -> None:
    found = differences(np.ones((MIN_STEPS - 1, 2)), np.ones((50, 2)))
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert not np.isnan(differences(np.ones((MIN_STEPS, 2)), np.ones((50, 2))).low).any()


@pytest.mark.parametrize(("degrees", "quantile"), [(4, 2.776), (9, 2.262), (30, 2.042), (1000, 1.962)])
def test_quantiles_of_student(degrees: int, quantile: float) -> None:
    assert student_quantile(degrees) == pytest.approx(quantile, rel=0.01)


@pytest.mark.parametrize(
    ("before", "after", "statistic"),
    [
        (np.ones((0, 1)), np.ones((5, 1)), "mean"),
        (np.ones((5, 1)), np.ones((5, 2)), "mean"),
        (np.ones((5, 1)),) * 2 + ("mode",),
    ],
)
def test_what_cannot_be_compared_is_refused(before: Noise, after: Noise, statistic: str) -> None:
    with pytest.raises(ValueError, match=r"unknown|compared"):
        differences(before, after, statistic)
