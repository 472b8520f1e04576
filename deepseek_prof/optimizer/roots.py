"""Calls of root modules in the user's process, seen by a wrapper around ``torch.nn.Module.__call__``."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

RootCall = Callable[[torch.nn.Module, "Callable[..., Any]", tuple[Any, ...], dict[str, Any]], Any]
"""Makes the call: gets the module, torch's own ``__call__``, and the arguments; returns the module's result."""


class RootNames:
    """Names of root modules that are the same in each run of a program: class, and number by first call."""

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[torch.nn.Module, str] = weakref.WeakKeyDictionary()
        self._seen: Counter[str] = Counter()

    def of(self, module: torch.nn.Module) -> str:
        """``Net``, or ``Net#2`` for the second module of that class."""
        name = self._names.get(module)
        if name is None:
            kind = type(module).__qualname__
            self._seen[kind] += 1
            name = kind if self._seen[kind] == 1 else f"{kind}#{self._seen[kind]}"
            self._names[module] = name
        return name


def watch_root_calls(call_root: RootCall) -> Callable[[], None]:
    """Let ``call_root`` make every outermost call of a module in this process; returns what undoes it.

    Calls below it, calls in forked children and calls that a compiler traces are the program's own.
    """
    original = torch.nn.Module.__call__
    inside = threading.local()
    pid = os.getpid()

    def call(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or getattr(inside, "yes", False) or os.getpid() != pid:
            return original(self, *args, **kwargs)
        inside.yes = True
        try:
            return call_root(self, original, args, kwargs)
        finally:
            inside.yes = False

    def undo() -> None:
        if torch.nn.Module.__call__ is call:
            torch.nn.Module.__call__ = original  # type: ignore[method-assign]  # what was there before

    torch.nn.Module.__call__ = call  # type: ignore[method-assign]  # the one place where every call passes
    return undo
