"""Work beside the drawing of which only the latest counts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from textual.dom import DOMNode


def run_latest(node: DOMNode, group: str, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
    """Call ``work`` in place of what runs in ``group`` of ``node``, and await it.

    A coroutine in its place would never be awaited where another replaces it before it has begun.
    """
    node.run_worker(partial(work, *arguments), exclusive=True, group=group)  # type: ignore[arg-type]  # of 3 kinds
