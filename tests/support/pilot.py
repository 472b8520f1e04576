"""Drives the app in this process, without a terminal, as a user would: keys, mouse, and what stands on the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widget import Widget

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.pane import Pane

SMALL, LARGE = (80, 24), (200, 60)


def play(test: Coroutine[Any, Any, None]) -> None:
    """Run an asynchronous test to its end."""
    asyncio.run(test)


@asynccontextmanager
async def open_pane(
    path: Path, name: str, *, query: str = "", size: tuple[int, int] = SMALL
) -> AsyncIterator[tuple[Pilot[Any], Pane[Any]]]:
    """The app over the run at ``path`` with a pane in front that has drawn ``query``."""
    app = ProfilerApp(path, query)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.pane is not None)
        pane = app.open_pane(name)
        assert pane is not None
        await until(pilot, lambda: pane.drawn is app.selection)
        await until(pilot, lambda: app.focused is not None and pane in app.focused.ancestors)
        yield pilot, pane


async def until(pilot: Pilot[Any], condition: Callable[[], bool]) -> None:
    """Let the app work until ``condition`` holds; the test's time limit ends what never comes."""
    while not condition():
        await pilot.pause(0.01)
    await pilot.pause()


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys, and let the app answer."""
    await pilot.press(*keys)
    await pilot.pause()


def lines(pilot: Pilot[Any], widget: Widget | None = None) -> list[str]:
    """The text of the screen, or of a widget's part of it, line by line.

    Every line is as wide as it should be, and none holds a control character.
    """
    region = (widget or pilot.app.screen).region
    strips = pilot.app.screen._compositor.render_strips()
    found = [strip.crop(region.x, region.right).text for strip in strips[region.y : region.bottom]]
    assert [cell_len(line) for line in found] == [region.width] * region.height
    assert all(line.isprintable() for line in found)
    return found


def screen(pilot: Pilot[Any]) -> str:
    """The screen's text."""
    return "\n".join(lines(pilot))
