"""Work beside the drawing of which only the latest counts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from textual.css.query import NoMatches
from textual.dom import DOMNode


def run_latest(node: DOMNode, group: str, work: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
    """Call ``work`` in place of what runs in ``group`` of ``node``, and await it.

    A coroutine in its place would never be awaited where another replaces it before it has begun.
    """

    async def begin() -> None:
        try:
            await work(*arguments)
        except NoMatches:
            if node.app.is_running:
                raise  # else the app is being left, and its widgets went while this waited for an answer

    node.run_worker(begin, exclusive=True, group=group)  # type: ignore[arg-type]  # mypy takes one of three kinds
