"""The app as a whole: panes, keys, mouse, themes, help, and what it says where there is nothing to show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.facet_panel import FacetPanel
from deepseek_prof.tui.filter_bar import FilterBar
from deepseek_prof.tui.palette import DARK, LIGHT
from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.panes.output import Output
from deepseek_prof.tui.screens.help import HelpScreen
from deepseek_prof.tui.side_bar import SideBar
from deepseek_prof.tui.widgets.tab_bar import TabBar
from tests.support.drawn import write_drawn_run
from tests.support.pilot import LARGE, SMALL, lines, open_pane, play, press, screen, until
from tests.tui.drawing import write_hostile_run, write_usual_run

NAMES = [pane.name_of for pane in PANES if pane is not Output]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_usual_run(tmp_path_factory.mktemp("runs") / "usual")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile_run(tmp_path_factory.mktemp("runs") / "hostile")


def current(pilot: Pilot[int]) -> str:
    app = pilot.app
    assert isinstance(app, ProfilerApp)
    return "" if app.pane is None else app.pane.name_of


def app_of(pilot: Pilot[int]) -> ProfilerApp:
    assert isinstance(pilot.app, ProfilerApp)
    return pilot.app


def test_number_keys_open_the_panes_in_the_order_of_the_tabs(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, NAMES[0], size=LARGE) as (pilot, _):
            for number, pane in enumerate(PANES, 1):
                await press(pilot, str(number))
                assert current(pilot) == pane.name_of
                assert f"{number} {pane.title}" in screen(pilot)

    play(test())


def test_a_click_on_a_tab_opens_its_pane(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, NAMES[0]) as (pilot, _):
            line = next(text for text in lines(pilot) if " 1 Overview" in text)
            await pilot.click(TabBar, offset=(line.index("3 "), 0))
            assert current(pilot) == NAMES[2]

    play(test())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_hostile_names_break_no_pane(hostile: Path, name: str, size: tuple[int, int]) -> None:
    async def test() -> None:
        async with open_pane(hostile, name, size=size) as (pilot, pane):
            lines(pilot)  # asserts that every line has its width and prints
            for key in ("down", "enter", "escape", "end", "home"):
                await press(pilot, key)
                lines(pilot)
            assert pane.is_attached

    play(test())


@pytest.mark.parametrize("name", NAMES)
def test_every_pane_draws_again_for_a_filter_and_without_it(usual: Path, name: str) -> None:
    async def test() -> None:
        async with open_pane(usual, name) as (pilot, pane):
            app = app_of(pilot)
            for query in ("phase:forward", "op:nothing", "level:warning", ""):
                app.set_query(query)
                await until(pilot, lambda: pane.drawn is app.selection)
                lines(pilot)

    play(test())


def test_the_filter_is_cleared_and_the_one_before_comes_back(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators", query="type:matmul") as (pilot, _):
            app = app_of(pilot)
            await press(pilot, "x")
            assert app.selection.query == ""
            assert app.query_one(FilterBar).input.value == ""
            await press(pilot, "u")
            assert app.selection.query == "type:matmul"
            await press(pilot, "u")
            assert app.selection.query == "type:matmul"

    play(test())


def test_the_theme_changes_and_the_panes_with_it(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, _):
            assert pilot.app.theme == DARK
            await press(pilot, "t")
            assert pilot.app.theme == LIGHT
            await press(pilot, "t")
            assert pilot.app.theme == DARK

    play(test())


def test_the_help_lists_every_binding_of_what_is_seen(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "layers", size=LARGE) as (pilot, _):
            await press(pilot, "question_mark")
            shown = pilot.app.screen
            assert isinstance(shown, HelpScreen)
            told = {(section.title, meaning) for section in shown.sections for _, meaning in section.rows}
            assert ("Everywhere", "Copy command line") in told
            assert ("Layers", "Expand all") in told
            assert ("Paged table", "Open") in told
            assert ("Layer browser", "Expand") in told
            assert "Everywhere" in screen(pilot)
            await press(pilot, "escape")
            assert current(pilot) == "layers"

    play(test())


def test_the_palette_finds_commands(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "overview") as (pilot, _):
            await press(pilot, "ctrl+p")
            await until(pilot, lambda: "Search for commands" in screen(pilot))
            for key in "copy":
                await press(pilot, key)
            await until(pilot, lambda: "Copy command line" in screen(pilot))
            await press(pilot, "escape")

    play(test())


def test_facets_come_where_there_is_room_and_by_key(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators", size=LARGE) as (pilot, _):
            assert pilot.app.query_one(SideBar).display
        async with open_pane(usual, "operators") as (pilot, _):
            side = pilot.app.query_one(SideBar)
            assert not side.display
            await press(pilot, "b")
            assert side.styles.display == "block"
            assert pilot.app.focused is pilot.app.query_one(FacetPanel)
            await press(pilot, "escape")
            assert pilot.app.focused is not pilot.app.query_one(FacetPanel)
            await press(pilot, "b")
            assert side.styles.display == "none"

    play(test())


def test_a_window_too_small_says_so_and_recovers(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators", size=(40, 10)) as (pilot, _):
            assert "60 columns" in screen(pilot).replace("\n", " ")
            await pilot.resize_terminal(100, 30)
            await until(pilot, lambda: "aten::mm" in screen(pilot))
            await pilot.resize_terminal(59, 30)
            await until(pilot, lambda: "aten::mm" not in screen(pilot))

    play(test())


def test_q_leaves_with_status_0(usual: Path) -> None:
    async def test() -> None:
        app = ProfilerApp(usual)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.pane is not None)
            await press(pilot, "q")
        assert app.return_value == 0

    play(test())


async def problem_of(path: Path) -> str:
    app = ProfilerApp(path)
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: "This run cannot be shown" in screen(pilot))
        shown = screen(pilot)
        assert "r reads it again" in shown
        await press(pilot, "2", "x", "u", "y", "b", "escape")  # nothing of this may fail
        return " ".join(shown.split())


def test_a_run_that_is_gone_is_said(tmp_path: Path) -> None:
    async def test() -> None:
        assert "is not a run" in await problem_of(tmp_path / "missing")

    play(test())


def test_a_damaged_run_names_the_file(tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")
    part = next(run.glob("spans/**/*.parquet"))
    part.write_bytes(b"PAR1 this is no parquet PAR1")

    async def test() -> None:
        assert "part-00000.parquet" in await problem_of(run)

    play(test())


def test_a_run_that_vanishes_meanwhile_is_said_and_read_again(tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")

    async def test() -> None:
        async with open_pane(run, "operators") as (pilot, _):
            aside = tmp_path / "aside"
            shutil.move(run, aside)
            app_of(pilot).set_query("dur>1us")
            await until(pilot, lambda: "This run cannot be shown" in screen(pilot))
            shutil.move(aside, run)
            await press(pilot, "r")
            await until(pilot, lambda: "aten::mm" in screen(pilot))

    play(test())


def test_an_empty_run_is_no_error(tmp_path: Path) -> None:
    run = write_drawn_run(tmp_path / "empty", with_steps=False)

    async def test() -> None:
        for name in NAMES:
            async with open_pane(run, name) as (pilot, _):
                lines(pilot)
        async with open_pane(run, "overview") as (pilot, _):
            assert "Nothing to judge" in screen(pilot)

    play(test())


def test_the_count_follows_the_filter(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, _):
            await until(pilot, lambda: "40 spans" in screen(pilot))
            app_of(pilot).set_query("type:conv")
            await until(pilot, lambda: " 4 spans" in screen(pilot))

    play(test())
