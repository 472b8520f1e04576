"""Results are those of single calls, whoever asks; requests that may share a batch do."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

import deepseek_prof
from deepseek_prof.errors import BatchOutputError, UsageError
from deepseek_prof.serving import DynamicBatcher
from tests.support.optimizing import Structured, convolutional
from tests.support.serving import WAIT_S, Held, busy, result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_results_are_those_of_single_calls(dtype: torch.dtype) -> None:
    model = convolutional().to(dtype)
    inputs = [torch.randn(rows, 3, 16, 16, dtype=dtype) for rows in (1, 2, 1, 3, 1, 1, 4, 1)]
    with DynamicBatcher(model, max_batch=4, max_wait_s=0.2) as batcher:
        futures = [batcher.submit(each) for each in inputs]
        found = [result(each) for each in futures]
        assert max(batcher.statistics().batches) > 1
    with torch.inference_mode():
        for each, values in zip(inputs, found, strict=True):
            torch.testing.assert_close(values, model(each))


def test_requests_that_gathered_during_a_call_are_one_batch() -> None:
    model = Held()
    with busy(model, max_batch=4) as (batcher, _):
        futures = [batcher.submit(torch.randn(1, 4)) for _ in range(6)]
        model.open.set()
        for each in futures:
            assert result(each).shape == (1, 3)
        assert model.rows == [1, 4, 2]
        assert batcher.statistics().batches == {1: 1, 2: 1, 4: 1}


def test_a_full_batch_does_not_wait() -> None:
    model = Held()
    model.open.set()
    with DynamicBatcher(model, max_batch=2, max_wait_s=10 * WAIT_S) as batcher:
        futures = [batcher.submit(torch.randn(1, 4)) for _ in range(2)]
        for each in futures:
            result(each)
    assert model.rows == [2]


def test_a_lone_request_waits_no_longer_than_it_may() -> None:
    model = Held()
    model.open.set()
    with DynamicBatcher(model, max_batch=8, max_wait_s=0.01) as batcher:
        result(batcher.submit(torch.randn(1, 4)))
        waited_s = batcher.statistics().wait_p50_s
    assert waited_s is not None
    assert waited_s >= 0.01


def test_a_request_that_does_not_fit_stays_for_the_next_batch() -> None:
    model = Held()
    with busy(model, max_batch=4) as (batcher, _):
        futures = [batcher.submit(torch.randn(rows, 4)) for rows in (3, 2, 2)]
        model.open.set()
        assert [result(each).shape[0] for each in futures] == [3, 2, 2]
    assert model.rows == [1, 3, 4]


def test_other_shapes_types_and_plain_arguments_are_other_batches() -> None:
    class Scaling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = Held()

        def forward(self, values: torch.Tensor, factor: float = 1.0) -> Any:
            self.held(torch.zeros(values.shape[0], 4))
            return values * factor

    model = Scaling()
    with DynamicBatcher(model, max_batch=8, max_wait_s=0.0) as batcher:
        batcher.submit(torch.zeros(1, 2))
        model.held.wait_until_entered()
        asked: list[tuple[torch.Tensor, dict[str, Any]]] = [
            (torch.ones(1, 2), {}),
            (torch.ones(1, 3), {}),
            (torch.ones(1, 2, dtype=torch.float64), {}),
            (torch.ones(1, 2), {"factor": 2.0}),
            (torch.ones(1, 2), {"factor": 2}),
            (torch.ones(1, 2), {}),
        ]
        futures = [batcher.submit(values, **kwargs) for values, kwargs in asked]
        model.held.open.set()
        for future, (values, kwargs) in zip(futures, asked, strict=True):
            expected = values * kwargs.get("factor", 1.0)
            assert torch.equal(result(future), expected)
            assert result(future).dtype == expected.dtype
    assert model.held.rows == [1, 2, 1, 1, 1, 1]


def test_from_threads_and_coroutines_at_once() -> None:
    model = nn.Linear(4, 3).eval()

    async def ask(batcher: DynamicBatcher, inputs: list[torch.Tensor]) -> list[Any]:
        return list(await asyncio.gather(*(batcher(each) for each in inputs)))

    with DynamicBatcher(model, max_batch=16, max_wait_s=0.001) as batcher, ThreadPoolExecutor(4) as pool:
        inputs = [torch.randn(1, 4) for _ in range(200)]
        threads = [pool.submit(lambda values: result(batcher.submit(values)), each) for each in inputs]
        coroutines = asyncio.run(ask(batcher, inputs))
        with torch.inference_mode():
            for each, thread, coroutine in zip(inputs, threads, coroutines, strict=True):
                torch.testing.assert_close(result(thread), model(each))
                torch.testing.assert_close(coroutine, model(each))
        assert batcher.statistics().finished == 400


def test_the_model_runs_in_evaluation_and_inference_mode_on_one_other_thread() -> None:
    seen: set[tuple[bool, bool, int]] = set()

    class Watching(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            seen.add((self.training, torch.is_inference_mode_enabled(), threading.get_ident()))
            return values + 1

    with DynamicBatcher(Watching(), max_batch=2) as batcher:
        for _ in range(3):
            assert not result(batcher.submit(torch.ones(1, 1, requires_grad=True))).requires_grad
    ((training, inference, thread),) = seen
    assert (training, inference) == (False, True)
    assert thread != threading.get_ident()


def test_containers_of_arguments_and_results() -> None:
    class Pairs(nn.Module):
        def forward(self, values: dict[str, torch.Tensor], *, more: list[torch.Tensor]) -> Any:
            return torch.max(values["a"] + more[0], 1), {"pair": (values["a"], None)}

    with DynamicBatcher(Pairs(), max_batch=2, max_wait_s=10 * WAIT_S) as batcher:
        asked = [(torch.randn(1, 4), torch.randn(1, 4)) for _ in range(2)]
        futures = [batcher.submit({"a": a}, more=[b]) for a, b in asked]
        for future, (a, b) in zip(futures, asked, strict=True):
            best, rest = result(future)
            assert torch.equal(best.indices, (a + b).argmax(1))
            assert torch.equal(rest["pair"][0], a)
            assert rest["pair"][1] is None
    structured = Structured().eval()
    with DynamicBatcher(structured, max_batch=2, max_wait_s=10 * WAIT_S) as batcher:
        futures = [batcher.submit(values=torch.randn(1, 64)) for _ in range(2)]
        for future in futures:
            assert type(result(future)).__name__ == "Scores"
            assert result(future).best.shape == (1,)


def test_results_do_not_share_memory() -> None:
    with DynamicBatcher(nn.Identity(), max_batch=2, max_wait_s=10 * WAIT_S) as batcher:
        first, second = [result(each) for each in [batcher.submit(torch.ones(1, 2)) for _ in range(2)]]
    assert first.untyped_storage().nbytes() == 2 * 4
    assert first.untyped_storage().data_ptr() != second.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "at least one tensor"),
        ((1,), "at least one tensor"),
        ((torch.ones(0, 4),), "at least one row"),
        ((torch.tensor(1.0),), "without dimensions"),
        ((torch.ones(1, 4), torch.ones(2, 4)), "found 1 and 2"),
        ((torch.ones(9, 4),), "9 rows, and a batch at most 8"),
        ((torch.ones(1, 4), {1, 2}), "of type set"),
    ],
)
def test_what_cannot_be_in_a_batch_is_refused_at_once(arguments: tuple[Any, ...], message: str) -> None:
    with DynamicBatcher(nn.Identity(), max_batch=8) as batcher:
        with pytest.raises(UsageError, match=message):
            batcher.submit(*arguments)
        assert batcher.statistics().accepted == 0


@pytest.mark.parametrize(
    "option",
    [{"max_batch": 0}, {"max_wait_s": -1.0}, {"max_wait_s": float("nan")}, {"max_queue": 0}, {"deadline_s": 0.0}],
)
def test_settings_out_of_range(option: dict[str, Any]) -> None:
    before = threading.active_count()
    with pytest.raises(UsageError, match="must be"):
        DynamicBatcher(nn.Identity(), **option)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda values: values.sum(), r"of the model has the shape \[\]"),
        (lambda values: (values, values.t()), r"\[1\] has the shape \[4, 1\]"),
        (lambda values: values.sum().item(), "of type float"),
        (lambda values: {"best": values, "cache": object()}, r"\.cache is of type object"),
    ],
)
def test_results_that_do_not_belong_to_rows_are_an_error_also_of_a_single_request(returned: Any, message: str) -> None:
    with DynamicBatcher(returned) as batcher, pytest.raises(BatchOutputError, match=message):
        result(batcher.submit(torch.ones(1, 4)))


def test_nothing_of_an_ended_request_is_kept() -> None:
    import gc
    import weakref

    with DynamicBatcher(nn.Linear(4, 3), max_batch=1, deadline_s=1000.0) as batcher:
        values = torch.randn(1, 4)
        argument = weakref.ref(values)
        future: Future[Any] = batcher.submit(values)
        del values
        result(future)
        result(batcher.submit(torch.ones(1, 4)))  # the worker has gone on
        gc.collect()
        assert argument() is None


def test_is_exported() -> None:
    assert deepseek_prof.DynamicBatcher is DynamicBatcher
