"""Steps, the backward phase, data-loading workers and the rank: the few places of torch that tell them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

_undo: list[Callable[[], None]] = []


def install_steps(native: ModuleType) -> None:
    """Tell the native recorder where steps and backward passes begin and end."""
    hook = register_optimizer_step_post_hook(lambda optimizer, _args, _kwargs: native.optimizer_stepped(optimizer))
    _undo.append(hook.remove)
    _wrap(torch.optim.Optimizer, "__init__", lambda original: _after(original, native.optimizer_made))
    _wrap(torch.autograd, "_engine_run_backward", lambda original: _backward(original, native))
    import torch.utils.data._utils.worker as data_worker

    _wrap(data_worker, "_worker_loop", lambda original: _before(original, native.set_data_worker))
    watch_rank()


def watch_rank() -> None:
    """Note the rank as soon as the program has one (launchers without ``RANK`` in the environment)."""
    if torch.distributed.is_available():
        import torch.distributed.distributed_c10d as c10d

        for home in (torch.distributed, c10d):
            _wrap(home, "init_process_group", lambda original: _after(original, _note_rank))


def remove_steps() -> None:
    """Undo ``install_steps``."""
    while _undo:
        _undo.pop()()


def _note_rank() -> None:
    from deepseek_prof.collectors.child import current

    attachment = current()
    if attachment is not None and torch.distributed.is_initialized():
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        if attachment.description.get("rank") != rank or attachment.description.get("world_size") != world_size:
            attachment.update(rank=rank, world_size=world_size)


def _wrap(home: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(home, name)
    ours = functools.wraps(original)(make(original))
    setattr(home, name, ours)

    def restore() -> None:
        if getattr(home, name) is ours:
            setattr(home, name, original)

    _undo.append(restore)


def _after(original: Callable[..., Any], then: Callable[[], None]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        then()
        return result

    return call


def _before(original: Callable[..., Any], first: Callable[[], None]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        first()
        return original(*args, **kwargs)

    return call


def _backward(original: Callable[..., Any], native: ModuleType) -> Callable[..., Any]:
    is_compiling = torch.compiler.is_compiling

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return original(*args, **kwargs)
        native.push_backward()
        try:
            return original(*args, **kwargs)
        finally:
            native.pop_phase()

    return call
