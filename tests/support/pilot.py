"""Drives the app in this process, without a terminal, as a user would: keys, mouse, and what stands on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from textual.pilot import Pilot

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.pane import Pane

SMALL, LARGE = (80, 24), (200, 60)


def play(test: Coroutine[Any, Any, None]) -> None:
    """Run an asynchronous test to its end."""
    asyncio.run(test)


@asynccontextmanager
async def open_pane(
    path: Path, name: str, *, query: str = "", size: tuple[int, int] = SMALL
) -> AsyncIterator[tuple[Pilot[int], Pane[Any]]]:
    """The app over the run at ``path`` with a pane in front that has drawn ``query``."""
    app = ProfilerApp(path, query)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.pane is not None)
        pane = app.open_pane(name)
        assert pane is not None
        await until(pilot, lambda: pane.drawn is app.selection)
        await until(pilot, lambda: app.focused is not None and pane in app.focused.ancestors)
        yield pilot, pane


async def until(pilot: Pilot[int], condition: Callable[[], bool]) -> None:
    """Let the app work until ``condition`` holds; the test's time limit ends what never comes."""
    while not condition():
        await pilot.pause(0.01)
    await pilot.pause()


async def press(pilot: Pilot[int], *keys: str) -> None:
    """Press keys, and let the app answer."""
    await pilot.press(*keys)
    await pilot.pause()


def lines(pilot: Pilot[int]) -> list[str]:
    """The screen's text, line by line. Every line is as wide as the screen, and none holds a control character."""
    found = [strip.text for strip in pilot.app.screen._compositor.render_strips()]
    assert [cell_len(line) for line in found] == [pilot.app.size.width] * len(found)
    assert all(line.isprintable() for line in found)
    return found


def screen(pilot: Pilot[int]) -> str:
    """The screen's text."""
    return "\n".join(lines(pilot))
