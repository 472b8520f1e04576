"""Deadlines: they pass whatever the model does, and what has expired is not run."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from deepseek_prof.errors import DeadlineExceededError, UsageError
from deepseek_prof.serving import DynamicBatcher
from tests.support.serving import GOOD, WAIT_S, Held, busy, result


def test_deadlines_pass_while_the_model_is_busy() -> None:
    model = Held()
    with busy(model, max_queue=2) as (batcher, first):
        late = [batcher.submit(GOOD, deadline_s=0.01), batcher.submit(GOOD, deadline_s=0.005)]
        for each in late:
            with pytest.raises(DeadlineExceededError, match="deadline of"):
                result(each)
        assert not first.done()
        in_time = batcher.submit(GOOD, deadline_s=10 * WAIT_S)
        model.open.set()
        assert result(in_time).shape == (1, 3)
        assert batcher.statistics().expired == 2
    assert model.rows == [1, 1], "what has expired is not run"


def test_a_deadline_passes_while_its_request_runs() -> None:
    model = Held()
    with DynamicBatcher(model, max_wait_s=0.0, deadline_s=0.02) as batcher:
        running = batcher.submit(GOOD)
        model.wait_until_entered()
        with pytest.raises(DeadlineExceededError):
            result(running)
        model.open.set()
        assert result(batcher.submit(GOOD, deadline_s=10 * WAIT_S)).shape == (1, 3)
        assert batcher.statistics().expired == 1


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan")])
def test_a_deadline_must_be_positive(deadline_s: float) -> None:
    with DynamicBatcher(nn.Identity()) as batcher, pytest.raises(UsageError, match="must be positive"):
        batcher.submit(GOOD, deadline_s=deadline_s)


def test_deadlines_and_waits_without_end() -> None:
    forever = float("inf")
    with DynamicBatcher(nn.Identity(), max_batch=2, max_wait_s=forever, deadline_s=forever) as batcher:
        for each in [batcher.submit(GOOD) for _ in range(2)]:
            assert torch.equal(result(each), GOOD)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_deadlines_pass_after_a_callback_that_exits() -> None:
    with busy(Held()) as (batcher, _):
        first = batcher.submit(GOOD, deadline_s=0.005)
        first.add_done_callback(lambda _: sys.exit(1))
        second = batcher.submit(GOOD, deadline_s=0.05)
        for each in (first, second):
            with pytest.raises(DeadlineExceededError):
                result(each)
