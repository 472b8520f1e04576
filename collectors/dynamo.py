"""Keeps ``torch.compile`` from looking at our own frames, so that it captures the program's graphs as without us.

Dynamo looks at every Python frame that begins while a compiled region has fallen back to eager code, ours among them. A
mark on the code object turns it away before it does anything. None of this imports ``torch._dynamo``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch._C import _dynamo

Function = TypeVar("Function", bound=Callable[..., Any])


def passes_through(function: Function) -> Function:
    """Mark a wrapper of ours: no graph begins at it, while what it calls is looked at as without us."""
    return _mark(function, recursive=False)


def stays_outside(function: Function) -> Function:
    """Mark a function of ours: no graph begins at it or at anything that it calls."""
    return _mark(function, recursive=True)


def _mark(function: Function, *, recursive: bool) -> Function:
    native = _dynamo.eval_frame
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    # The interface is private: without it programs run as well, with a graph more where they break one.
    if code is not None and hasattr(native, "set_code_exec_strategy"):
        below = native._FrameAction.SKIP if recursive else native._FrameAction.DEFAULT
        native.set_code_exec_strategy(code, native._FrameExecStrategy(native._FrameAction.SKIP, below))
    return function
