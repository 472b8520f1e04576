"""The load of the benchmark: every request is counted once, as answered, rejected or lost."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import torch
from torch import nn

from benchmarks.programs.dynamic_batcher import offer
from deepseek_prof.errors import OverloadedError
from deepseek_prof.serving import DynamicBatcher


def test_all_are_answered_where_nothing_goes_wrong() -> None:
    with DynamicBatcher(nn.Identity(), max_queue=4096) as batcher:
        load = offer(batcher.submit, 2_000, 0.1, seed=0)
    assert load.sent == load.answered > 100
    assert (load.rejected, load.lost) == (0, 0)
    assert load.holds(60.0)
    assert not load.holds(0.0)


def test_what_is_rejected_or_fails_is_counted_and_no_rate_that_holds() -> None:
    asked = 0

    def submit(_: torch.Tensor) -> Future[Any]:
        nonlocal asked
        asked += 1
        if asked % 3 == 0:
            raise OverloadedError("full")
        future: Future[Any] = Future()
        if asked == 4:
            future.set_exception(ValueError("lost"))
        else:
            future.set_result(None)
        return future

    load = offer(submit, 2_000, 0.05, seed=0)
    assert load.sent == asked
    assert (load.rejected, load.lost) == (asked // 3, 1)
    assert load.answered == asked - asked // 3 - 1
    assert not load.holds(60.0)
