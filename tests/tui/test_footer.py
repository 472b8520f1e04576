"""The footer: every key that it offers is seen in a window of 80 columns, whatever has the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot
from textual.widgets import Footer, Input
from textual.widgets._footer import FooterKey

from deepseek_prof.recording.program_terminal import OUTPUT_NAME
from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.panes.compare import Compare
from tests.support.pilot import SMALL, lines, open_pane, play, press, until
from tests.tui.drawing import write_usual_run


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with another one beside it, and the output of its program."""
    folder = tmp_path_factory.mktemp("runs")
    write_usual_run(folder / "other")
    run = write_usual_run(folder / "usual")
    (run / OUTPUT_NAME).write_bytes(b"what the program wrote\r\n")
    return run


def offered(app: App[Any]) -> list[Binding]:
    """What the footer is to show: one binding for each action."""
    found: dict[str, Binding] = {}
    for active in app.screen.active_bindings.values():
        if active.binding.show:
            found.setdefault(active.binding.action, active.binding)
    return list(found.values())


async def assert_all_seen(pilot: Pilot[Any]) -> None:
    """Each key with what it does stands in the footer of the screen in front."""
    footer = pilot.app.screen.query_one(Footer)

    def made() -> bool:
        keys = [key.action for key in footer.query(FooterKey) if not key.has_class("-command-palette")]
        return keys == [binding.action for binding in offered(pilot.app)]

    await until(pilot, made)
    wanted = [f" {pilot.app.get_key_display(binding)} {binding.description} " for binding in offered(pilot.app)]
    assert wanted
    assert "".join(wanted) in lines(pilot, footer)[0]


@pytest.mark.parametrize("name", [pane.name_of for pane in PANES])
def test_the_keys_of_a_pane_fit(usual: Path, name: str) -> None:
    async def test() -> None:
        async with open_pane(usual, name, size=SMALL) as (pilot, _):
            await press(pilot, "b", "escape")  # the side bar beside the pane: it takes keys too
            for widget in pilot.app.screen.focus_chain:
                if not isinstance(widget, Input):  # into which every key is typed
                    widget.focus()
                    await pilot.pause()
                    await assert_all_seen(pilot)

    play(test())


@pytest.mark.parametrize("name", ["operators", "logs"])
def test_the_keys_of_what_a_row_opens_fit(usual: Path, name: str) -> None:
    async def test() -> None:
        async with open_pane(usual, name, size=SMALL) as (pilot, pane):
            await press(pilot, "enter")
            await until(pilot, lambda: pilot.app.screen is not pane.screen)
            await assert_all_seen(pilot)

    play(test())


def test_the_keys_of_a_comparison_fit(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "compare", size=SMALL) as (pilot, pane):
            assert isinstance(pane, Compare)
            await press(pilot, "enter")
            await until(pilot, lambda: pane.other is not None and pane.query_one("#rows").has_focus)
            await assert_all_seen(pilot)

    play(test())
