"""The dynamic batcher: calls of many threads and coroutines, joined into batches that one thread runs."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import torch

from deepseek_prof.errors import BatcherClosedError, OverloadedError, ServingError, UsageError
from deepseek_prof.serving.batching import Batching, Inputs
from deepseek_prof.serving.deadlines import Deadlines
from deepseek_prof.serving.padding import Padding
from deepseek_prof.serving.request import Request
from deepseek_prof.serving.statistics import Counts, Statistics
from deepseek_prof.serving.waiting import WaitingLine


class DynamicBatcher:
    """Answers calls of a model in batches: throughput of large batches for callers that have one example each.

    ``submit`` takes what the model takes, tensors with the batch as dimension 0, and returns a future of what the model
    would return for it alone. Close it when done, or use it in a ``with`` block; docs/serving.md has examples.

    Args:
        model: a module, which is set to evaluation, or any callable. It runs in inference mode, on one thread of ours.
        max_batch: rows of a batch, and of a request, at most.
        max_wait_s: how long a request may wait for others. Under load nobody waits for it: the next batch has
            gathered while the last one ran.
        max_queue: how many requests may wait; one more is refused at once.
        deadline_s: how long a request may take in all, unless it says otherwise; None: as long as it takes.
        padding: how requests of different lengths are joined; without it, only those of one shape are.

    Raises:
        UsageError: a number is out of range, or the padding does not fit the model.
    """

    def __init__(
        self,
        model: torch.nn.Module | Callable[..., Any],
        *,
        max_batch: int = 8,
        max_wait_s: float = 0.005,
        max_queue: int = 256,
        deadline_s: float | None = None,
        padding: Padding | None = None,
    ) -> None:
        for name, value, least in (
            ("max_batch", max_batch, 1),
            ("max_wait_s", max_wait_s, 0),
            ("max_queue", max_queue, 1),
        ):
            if not value >= least:  # NaN neither
                raise UsageError(f"{name} is {value}: it must be at least {least}.")
        _check_deadline(deadline_s)
        self._batching = Batching(model, padding)
        if isinstance(model, torch.nn.Module):
            model.eval()
        self._max_batch = max_batch
        self._deadline_s = deadline_s
        self._line = WaitingLine(max_queue, max_batch, max_wait_s)
        self._deadlines = Deadlines()
        self._counts = Counts()
        self._process = os.getpid()
        self._worker = threading.Thread(target=self._work, name="deepseek-prof batcher", daemon=True)
        self._worker.start()
        # At the end of the program nobody is left to wait for a result, and torch must not run into its end.
        atexit.register(self.close, drain=False)

    def submit(self, *args: Any, deadline_s: float | None = None, **kwargs: Any) -> Future[Any]:
        """Ask for ``model(*args, **kwargs)``.

        The future ends once, with the model's result or with its error, with DeadlineExceededError, or with
        BatcherClosedError. ``cancel()`` takes effect while the request waits. Callbacks run on our threads: keep them
        short.

        Args:
            deadline_s: how long it may take in all; None: as the batcher was told. The model gets no such argument.

        Raises:
            OverloadedError: too many requests wait.
            BatcherClosedError: the batcher was closed.
            UsageError: the arguments cannot be part of a batch, or the deadline is not positive.
        """
        if os.getpid() != self._process:
            raise ServingError("This process was forked from the one that made the batcher: make one of its own here.")
        _check_deadline(deadline_s)
        inputs = self._batching.inputs(args, kwargs)
        if inputs.rows > self._max_batch:
            raise UsageError(f"The call has {inputs.rows} rows, and a batch at most {self._max_batch}: divide it.")
        request = Request(inputs, self._deadline_s if deadline_s is None else deadline_s)
        try:
            self._line.put(request)
        except OverloadedError:
            self._counts.add("rejected")
            raise
        self._counts.add("accepted")
        self._deadlines.watch(request)
        request.future.add_done_callback(lambda future: self._ended(request))
        return request.future

    async def __call__(self, *args: Any, deadline_s: float | None = None, **kwargs: Any) -> Any:
        """``submit`` for coroutines: the result. Cancelling the task cancels the request while it waits."""
        return await asyncio.wrap_future(self.submit(*args, deadline_s=deadline_s, **kwargs))

    def statistics(self) -> Statistics:
        """What was done so far."""
        return self._counts.snapshot(self._line.waiting, self._line.most)

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and return when all have ended; again: does nothing.

        Args:
            drain: run the requests that wait; else they end with BatcherClosedError. The batch that runs is finished.
        """
        if os.getpid() != self._process:
            return  # a fork has neither the threads nor a claim to their locks
        for request in self._line.close(drain=drain):
            request.fail(BatcherClosedError("The batcher was closed before the request was run."))
        if threading.current_thread() is not self._worker:
            self._worker.join()
            self._deadlines.close()
        atexit.unregister(self.close)

    def __enter__(self) -> DynamicBatcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.close(drain=kind is None)

    async def __aenter__(self) -> DynamicBatcher:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        # Not on the loop's thread, which the requests that wait may need.
        await asyncio.to_thread(self.close, drain=kind is None)

    def _work(self) -> None:
        batch: Sequence[Request] | None = None
        try:
            while (batch := self._line.take()) is not None:
                self._serve(batch)
                batch = None  # while it waits for the next one, nothing of this one is kept
        except BaseException:
            # Only a callback of a future can do this, such as one that exits: no request may wait for ever.
            for request in (*(batch or ()), *self._line.close(drain=False)):
                request.fail(BatcherClosedError("The batcher's thread has ended by an exception of a callback."))
            raise

    def _serve(self, batch: Sequence[Request]) -> None:
        started = [(request, inputs) for request in batch if (inputs := request.start()) is not None]
        if started:
            now_s = time.monotonic()
            self._counts.started([now_s - request.queued_s for request, _ in started])
            self._run(started)

    def _run(self, batch: Sequence[tuple[Request, Inputs]]) -> None:
        """Run a batch; one that fails, request by request, so that only the bad one fails."""
        self._counts.ran(sum(request.rows for request, _ in batch))
        try:
            with torch.inference_mode():
                results = self._batching.run([inputs for _, inputs in batch])
        except BaseException as error:  # noqa: BLE001  # SystemExit too: it is the request's, not this thread's
            if len(batch) == 1:
                batch[0][0].fail(_for_callers(error))
                return
            self._counts.add("failed_batches")
        else:
            for (request, _), result in zip(batch, results, strict=True):
                request.finish(result)
            return
        for request, inputs in batch:
            if not request.ended:
                self._run([(request, inputs)])

    def _ended(self, request: Request) -> None:
        self._line.discard(request)
        request.release()
        self._counts.ended(request.future)


def _for_callers(error: BaseException) -> BaseException:
    """The model's error, in another one where it would end the caller's program or confuse its event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = ServingError(f"The model raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _check_deadline(deadline_s: float | None) -> None:
    if deadline_s is not None and not deadline_s > 0:  # NaN neither
        raise UsageError(f"A deadline of {deadline_s} s: it must be positive.")
