"""The order in which layers go back to float, and the search for how many must."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deepseek_prof.optimizer.sensitivity import fewest, ranked
from tests.support.optimizing import positional


@given(most=st.integers(0, 200), needed=st.integers(0, 220))
def test_the_fewest_that_pass_found_with_few_trials(most: int, needed: int) -> None:
    trials: list[int] = []

    def passes(count: int) -> bool:
        trials.append(count)
        assert 0 <= count <= most
        return count >= needed

    assert fewest(most, passes) == (needed if needed <= most else None)
    assert len(trials) == len(set(trials)) <= 2 * most.bit_length() + 2


def test_the_most_damage_for_the_work_saved_comes_first() -> None:
    torch.manual_seed(0)
    first = nn.Linear(32, 32)
    module = nn.Sequential(first, nn.Linear(32, 256), nn.Linear(256, 8)).eval()
    values = torch.randn(16, 32)
    first.weight.data[:, 0] /= 1000
    values[:, 0] *= 1000  # its weights are small, so the other columns matter as much and are lost in 8 bits
    before = {name: each.clone() for name, each in module.state_dict().items()}
    with torch.no_grad():
        damages = ranked(module, [positional(values)])
    assert damages[0].layer == "0"
    assert {each.layer: each.multiplications for each in damages} == {
        "0": 16 * 32 * 32,
        "1": 16 * 32 * 256,
        "2": 16 * 256 * 8,
    }
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
