"""Rounds, ratios and what is claimed from them."""

from __future__ import annotations

import random

import pytest

from deepseek_prof.optimizer.timing import Ratio, Samples, interleave, is_loss, is_win, ratio


def samples(mean_ns: float, rounds: int, generator: random.Random, spread: float = 0.05) -> Samples:
    return Samples([[int(mean_ns * (1 + generator.gauss(0, spread))) for _ in range(4)] for _ in range(rounds)])


def test_every_timer_runs_once_a_round_and_the_order_changes() -> None:
    ran: list[int] = []

    def timer(index: int) -> list[int]:
        ran.append(index)
        return [1000 + index]

    found = interleave([lambda index=index: timer(index) for index in range(3)], rounds=20, seed=1)  # type: ignore[misc]  # the index of each
    rounds = [tuple(ran[first : first + 3]) for first in range(0, len(ran), 3)]
    assert all(sorted(each) == [0, 1, 2] for each in rounds)
    assert len(set(rounds)) > 2
    assert [each.rounds for each in found] == [[[1000 + index]] * 20 for index in range(3)]


def test_ends_early_after_a_whole_round() -> None:
    found = interleave([lambda: [1], lambda: [2]], rounds=50, seed=1, go_on=lambda: False)
    assert [len(each.rounds) for each in found] == [1, 1]


def test_ratio_is_paired_by_round() -> None:
    slow_moment = [1, 1, 5, 1, 1, 1, 9, 1, 1, 1]
    before = Samples([[1000 * each] for each in slow_moment])
    after = Samples([[500 * each] for each in slow_moment])
    found = ratio(before, after)
    assert found.median == pytest.approx(2)
    assert found.low == pytest.approx(2)


def test_a_call_that_lost_its_cpu_does_not_move_its_round() -> None:
    calm = Samples([[100, 1000] * 5], kinds=2)
    hit = Samples([[100, 1000, 900, 1000, 100, 9000, 100, 1000, 100, 1000]], kinds=2)
    assert calm.typical_ns() == hit.typical_ns() == [1100]


def test_a_real_gain_is_a_win_and_a_real_loss_a_loss() -> None:
    generator = random.Random(1)
    eager, control, fast, slow = (samples(mean, 30, generator) for mean in (1e6, 1e6, 0.7e6, 1.4e6))
    noise = ratio(eager, control)
    assert is_win(ratio(eager, fast), noise)
    assert not is_loss(ratio(eager, fast), noise)
    assert is_loss(ratio(eager, slow), noise)
    assert not is_win(ratio(eager, slow), noise)


def test_equal_processes_win_in_less_than_five_percent_of_measurements() -> None:
    generator = random.Random(2)
    wins = 0
    for _ in range(200):
        eager, control, candidate = (samples(1e6, 8, generator) for _ in range(3))
        wins += is_win(ratio(eager, candidate), ratio(eager, control))
    assert wins <= 10


def test_too_few_rounds_claim_nothing() -> None:
    found = ratio(Samples([[1000]] * 3), Samples([[100]] * 3))
    assert not is_win(found, Ratio(1, 1, 1))
    assert not is_loss(found, Ratio(1, 1, 1))
