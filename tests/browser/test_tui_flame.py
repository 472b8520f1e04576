"""``f`` in the TUI: the page that the app opens is drawn by a real browser, with what the filter selects."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deepseek_prof.exporters.viewer import has_app
from tests.browser.test_flame import ROWS_WITH, open_page
from tests.support.browser import Browser
from tests.support.opened import OpenedUrls, opened_urls
from tests.support.pilot import open_pane, play, press, until
from tests.tui.drawing import write_usual_run

__all__ = ["opened_urls"]


@pytest.mark.skipif(not has_app(), reason="this installation was built without the viewer")
def test_the_selection_is_drawn_by_the_browser(browser: Browser, opened_urls: OpenedUrls, tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")

    async def test() -> None:
        async with open_pane(run, "layers", query="layer:net.fc") as (pilot, _):
            await press(pilot, "f")
            await until(pilot, lambda: bool(opened_urls.read()))
            await asyncio.to_thread(open_page, browser, opened_urls.read()[0], "layers · host time")
            browser.press("3")  # the table of frames
            rows = await asyncio.to_thread(browser.wait, ROWS_WITH, "net.fc")
            assert not [row for row in rows if "net.conv" in row]

    play(test())
    browser.assert_quiet()
