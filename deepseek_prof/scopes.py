"""``annotate``: name a part of the user's program. Imported into profiled programs: standard library only."""

from __future__ import annotations

import contextlib
import os
import sys
from contextlib import AbstractContextManager
from typing import Any


def annotate(name: str) -> AbstractContextManager[Any]:
    """Name a part of the program: a span of kind ``user`` around the ``with`` block (or the decorated function).

    Costs nothing when the program is not being recorded, and breaks no graph of ``torch.compile``.

    Args:
        name: shown as it is; a counter in the name makes every call a path of its own, so leave it out.
    """
    torch = sys.modules.get("torch")
    if torch is None or not (os.environ.get("DEEPSEEK_PROF_LIVE") or "deepseek_prof.collectors.child" in sys.modules):
        return contextlib.nullcontext()
    scope: AbstractContextManager[Any] = torch.profiler.record_function(name)
    return scope
