"""Models whose calls a test holds up, lets fail, and looks at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from deepseek_prof.serving import DynamicBatcher

WAIT_S = 60.0
"""How long a test waits for what must happen, before it fails."""
BAD = torch.full((1, 4), float("nan"))
"""A request that makes a call of :class:`Held` fail."""
GOOD = torch.ones(1, 4)


class Held(nn.Module):
    """A linear layer that waits in each call until it is let through; rows with a NaN make a call fail."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.rows: list[int] = []
        self.failure: BaseException = ValueError("a row is not a number")

    def forward(self, values: torch.Tensor) -> Any:
        """From (rows, 4) to (rows, 3)."""
        self.rows.append(values.shape[0])
        self.entered.release()
        assert self.open.wait(WAIT_S)
        if values.isnan().any():
            raise self.failure
        return self.linear(values)

    def wait_until_entered(self) -> None:
        """Return once the model was called once more."""
        assert self.entered.acquire(timeout=WAIT_S)


@contextmanager
def busy(model: Held, **options: Any) -> Iterator[tuple[DynamicBatcher, Future[Any]]]:
    """A batcher whose model holds a first request until the test opens it; it is opened at the end of the block."""
    with DynamicBatcher(model, **{"max_wait_s": 0.0, **options}) as batcher:
        first = batcher.submit(torch.zeros(1, 4))
        model.wait_until_entered()
        try:
            yield batcher, first
        finally:
            model.open.set()


def result(future: Future[Any]) -> Any:
    """The future's result, or its error; a request that was lost fails the test."""
    return future.result(WAIT_S)
