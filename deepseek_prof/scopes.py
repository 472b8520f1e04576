"""``annotate``: name a part of the user's program. Imported into profiled programs: standard library only."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


class _Unrecorded(contextlib.nullcontext[None]):
    """Does nothing as a context manager; as a decorator it asks anew at each call, which may be recorded."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __call__(self, function: _F) -> _F:
        name = self._name

        @functools.wraps(function)
        def annotated(*args: Any, **kwargs: Any) -> Any:
            with annotate(name):
                return function(*args, **kwargs)

        return annotated  # type: ignore[return-value]  # the same signature, by functools.wraps


def annotate(name: str) -> AbstractContextManager[Any]:
    """Name a part of the program: a span of kind ``user`` around the ``with`` block (or the decorated function).

    Costs nothing while nothing records this process, and breaks no graph of ``torch.compile``.

    Args:
        name: shown as it is; a counter in the name makes every call a path of its own, so leave it out.
    """
    child = sys.modules.get("deepseek_prof.collectors.child")  # loaded by what records; it has loaded torch then
    attachment = child.current() if child is not None else None
    if attachment is None or attachment.recorder is None:
        return _Unrecorded(name)
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():  # Dynamo would warn that it leaves a record function out
        return _Unrecorded(name)
    scope: AbstractContextManager[Any] = torch.profiler.record_function(name)
    return scope
