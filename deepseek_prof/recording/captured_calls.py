"""Calls into the driver that make the nodes of a CUDA graph while it is captured.

Standard library only: profiled programs import it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from deepseek_prof.model import Kind

_WORK = (
    (re.compile(r"Launch(?:Cooperative)?Kernel"), Kind.KERNEL),
    (re.compile(r"Memcpy\w*Async"), Kind.MEMCPY),
    (re.compile(r"Memset\w*Async"), Kind.MEMSET),
)
_WAIT = re.compile(r"StreamWaitEvent")


@lru_cache(maxsize=1024)
def captured_kind(name: str) -> Kind | None:
    """What a replay does in the place of the call ``name``; None for calls that make no work."""
    return next((kind for pattern, kind in _WORK if pattern.search(name)), None)


@lru_cache(maxsize=1024)
def orders_streams(name: str) -> bool:
    """Whether a graph that is captured with the call ``name`` in it may have branches, which run side by side."""
    return _WAIT.search(name) is not None
