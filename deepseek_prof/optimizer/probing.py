"""Calls of a module that leave no trace in the training which goes on around them. Standard library and torch only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from deepseek_prof.optimizer.protocol import Captured
from deepseek_prof.optimizer.values import copied


@contextmanager
def unseen(module: torch.nn.Module) -> Iterator[None]:
    """In here the module may be called: random numbers and buffers are afterwards as before."""
    kept = [(each, each.detach().clone()) for each in module.buffers()]
    with torch.random.fork_rng(), torch.no_grad():
        try:
            yield
        finally:
            for buffer, before in kept:
                with torch.inference_mode(buffer.is_inference()):  # such a buffer is written to there only
                    buffer.copy_(before)


def draws_random(captured: Captured) -> bool:
    """Whether the module draws random numbers when called, as with dropout; by one call of it."""
    call = copied(captured.calls[0])
    with unseen(captured.module):
        before = _states()
        captured.module(*call.args, **call.kwargs)
        return any(not torch.equal(now, then) for now, then in zip(_states(), before, strict=True))


def _states() -> list[torch.Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]
