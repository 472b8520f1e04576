"""Faults: whatever goes wrong, no request is lost, and each one ends exactly once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from deepseek_prof.errors import BatcherClosedError, OverloadedError, ServingError
from deepseek_prof.serving import DynamicBatcher, Statistics
from tests.support.serving import BAD, GOOD, WAIT_S, Held, busy, result


def test_a_bad_request_fails_alone() -> None:
    model = Held()
    with busy(model, max_batch=4) as (batcher, first):
        futures = [batcher.submit(each) for each in (GOOD, BAD, GOOD, GOOD)]
        model.open.set()
        with pytest.raises(ValueError, match="not a number"):
            result(futures[1])
        for each in (first, futures[0], futures[2], futures[3]):
            assert result(each).shape == (1, 3)
        found = batcher.statistics()
    assert model.rows == [1, 4, 1, 1, 1, 1]
    assert (found.finished, found.failed, found.failed_batches) == (4, 1, 1)


@pytest.mark.parametrize("failure", [SystemExit(3), StopIteration(), KeyboardInterrupt()])
def test_what_would_end_the_thread_is_the_error_of_the_request(failure: BaseException) -> None:
    model = Held()
    model.failure = failure
    model.open.set()

    async def ask(batcher: DynamicBatcher) -> Any:
        return await asyncio.wait_for(batcher(BAD), WAIT_S)

    with DynamicBatcher(model) as batcher:
        with pytest.raises(ServingError, match=type(failure).__name__) as caught:
            asyncio.run(ask(batcher))
        assert caught.value.__cause__ is failure
        assert result(batcher.submit(GOOD)).shape == (1, 3)


def test_overload_is_refused_at_once_and_passes() -> None:
    model = Held()
    with busy(model, max_queue=3, max_batch=1) as (batcher, first):
        waiting = [batcher.submit(GOOD) for _ in range(3)]
        with pytest.raises(OverloadedError, match="3 requests wait"):
            batcher.submit(GOOD)
        with pytest.raises(OverloadedError):
            asyncio.run(batcher(GOOD))
        model.open.set()
        for each in (first, *waiting):
            result(each)
        result(batcher.submit(GOOD))
        found = batcher.statistics()
    assert (found.accepted, found.rejected, found.finished, found.most_waiting) == (5, 2, 5, 3)


def test_a_cancelled_request_is_not_run_and_makes_room() -> None:
    model = Held()
    with busy(model, max_queue=1) as (batcher, first):
        waiting = batcher.submit(GOOD)
        assert waiting.cancel()
        assert batcher.statistics().waiting == 0
        other = batcher.submit(GOOD)
        assert not first.cancel(), "it runs"
        model.open.set()
        assert result(other).shape == result(first).shape
        with pytest.raises(CancelledError):
            result(waiting)
        assert batcher.statistics().cancelled == 1
    assert model.rows == [1, 1]


def test_cancelling_a_task_cancels_its_request() -> None:
    model = Held()

    async def ask(batcher: DynamicBatcher) -> None:
        task = asyncio.ensure_future(batcher(GOOD))
        await asyncio.sleep(0)
        assert batcher.statistics().waiting == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert batcher.statistics().waiting == 0

    with busy(model) as (batcher, first):
        asyncio.run(ask(batcher))
        model.open.set()
        result(first)
    assert model.rows == [1]


class Unreliable(nn.Module):
    """Fails at random, and always for a NaN."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.linear = nn.Linear(4, 3)

    def forward(self, values: torch.Tensor) -> Any:
        if values.isnan().any() or self.random.random() < 0.2:
            raise RuntimeError("unlucky")
        return self.linear(values)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_request_is_lost_under_load_with_all_faults_at_once(seed: int) -> None:
    model = Unreliable(seed)
    batcher = DynamicBatcher(model, max_batch=4, max_wait_s=0.0002, max_queue=24)
    ended: Counter[int] = Counter()
    counting = threading.Lock()

    def count(future: Future[Any]) -> None:
        with counting:
            ended[id(future)] += 1

    def client(number: int) -> tuple[list[tuple[torch.Tensor, Future[Any]]], int]:
        chance = random.Random(f"{seed} {number}")
        sent: list[tuple[torch.Tensor, Future[Any]]] = []
        refused = 0
        for _ in range(150):
            values = BAD if chance.random() < 0.05 else torch.full((chance.choice((1, 1, 2, 3)), 4), chance.random())
            deadline_s = chance.choice((None, None, 0.0001, 0.005))
            try:
                future = batcher.submit(values, deadline_s=deadline_s)
            except (OverloadedError, BatcherClosedError):
                refused += 1
                continue
            future.add_done_callback(count)
            sent.append((values, future))
            if chance.random() < 0.1:
                future.cancel()
            if chance.random() < 0.3 and not future.cancelled():
                future.exception(WAIT_S)
            if number == 0 and len(sent) == 100:
                batcher.close(drain=bool(seed % 2))
        return sent, refused

    with ThreadPoolExecutor(6) as pool:
        found = [each.result(2 * WAIT_S) for each in [pool.submit(client, number) for number in range(6)]]
    batcher.close()
    requests = [each for sent, _ in found for each in sent]
    assert len(requests) + sum(refused for _, refused in found) == 6 * 150
    assert all(future.done() for _, future in requests)
    assert ended == {id(future): 1 for _, future in requests}
    kinds: Counter[str] = Counter()
    with torch.inference_mode():
        for values, future in requests:
            if future.cancelled():
                kinds["cancelled"] += 1
            elif (error := future.exception()) is None:
                kinds["finished"] += 1
                torch.testing.assert_close(future.result(), model.linear(values))
            else:
                kinds[type(error).__name__] += 1
    totals = batcher.statistics()
    assert kinds == +Counter(
        {
            "cancelled": totals.cancelled,
            "finished": totals.finished,
            "RuntimeError": totals.failed,
            "DeadlineExceededError": totals.expired,
            "BatcherClosedError": totals.closed,
        }
    )
    assert totals.accepted == len(requests)
    assert (totals.pending, totals.waiting) == (0, 0)
    assert kinds["finished"]
    assert kinds["RuntimeError"]


def test_statistics_of_a_new_batcher() -> None:
    with DynamicBatcher(nn.Identity()) as batcher:
        found = batcher.statistics()
    assert found == Statistics(0, 0, 0, 0, 0, 0, 0, 0, 0, {}, 0, None, None)
