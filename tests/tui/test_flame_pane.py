"""The pane Flame: keys, mouse, search, views, the filter, and names that are anything but harmless."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from deepseek_prof.analysis.flame import VIEWS
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.query import compile_query
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.panes.flame import layer_clause
from deepseek_prof.tui.widgets.icicle import Icicle
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.pilot import LARGE, SMALL, lines, open_pane, play, press, screen, until
from tests.tui.drawing import HOSTILE, write_hostile_run, write_usual_run


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four equal steps."""
    return write_usual_run(tmp_path_factory.mktemp("runs") / "usual")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One step full of hostile names."""
    return write_hostile_run(tmp_path_factory.mktemp("runs") / "hostile")


def at(pilot: Pilot[int]) -> list[str]:
    """The names from the root to the cursor."""
    return [block.frame.name for block in pilot.app.query_one(Icicle).cursor[1:]]


def filling(pilot: Pilot[int]) -> list[str]:
    """The names from the root to the block that fills the width."""
    return [block.frame.name for block in pilot.app.query_one(Icicle).filling[1:]]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_graph_says_what_top_says(usual: Path, size: tuple[int, int]) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame", size=size) as (pilot, _):
            # Per step 400 µs forward, 400 µs backward and 300 µs on the thread beside.
            assert "layers · host time, 4.40 ms" in screen(pilot)
            assert "forward 36 %" in screen(pilot)
            assert "backward 36 %" in screen(pilot)
            assert "data 27 %" in screen(pilot)

    play(test())


def test_arrows_walk_through_the_tree(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            assert at(pilot) == []
            await press(pilot, "down")
            assert at(pilot) == ["forward"]
            await press(pilot, "down", "down")
            assert at(pilot) == ["forward", "net", "net.fc"]
            assert "net.fc (layer)" in screen(pilot)
            assert "800 µs · 18 % of all · 50 % of what is above · own 40.0 µs" in screen(pilot)
            await press(pilot, "left")
            assert at(pilot) == ["forward", "net", "net.conv"]
            await press(pilot, "left", "right", "right")
            assert at(pilot) == ["forward", "net", "net.fc"]
            await press(pilot, "up", "up", "up", "up")
            assert at(pilot) == []

    play(test())


def test_enter_zooms_and_backspace_leads_back(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            await press(pilot, "down", "down", "down", "enter")
            assert filling(pilot) == ["forward", "net", "net.fc"]
            assert any(line.startswith("▏fc 18 %  ") for line in lines(pilot))
            assert not any("conv" in line for line in lines(pilot)[4:-4])
            await press(pilot, "enter")
            assert filling(pilot) == ["forward", "net"]
            assert at(pilot) == ["forward", "net", "net.fc"]
            await press(pilot, "backspace", "minus", "minus")
            assert filling(pilot) == []
            await press(pilot, "enter", "home")
            assert (filling(pilot), at(pilot)) == ([], [])

    play(test())


def test_moving_out_of_what_is_zoomed_zooms_out(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            await press(pilot, "down", "down", "down", "enter", "left")
            assert at(pilot) == ["forward", "net", "net.conv"]
            assert filling(pilot) == ["forward", "net"]

    play(test())


def test_search_finds_counts_and_steps_through(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            await press(pilot, "s", *"mm")
            await until(pilot, lambda: "3 found" in screen(pilot))
            # 160 µs of addmm and 280 µs of mm a step of 1.1 ms; the nodes of backward around mm are not counted again.
            assert "(42 %; n, N)" in screen(pilot)
            await press(pilot, "enter")
            assert isinstance(pilot.app.focused, Icicle)
            assert at(pilot)[-1] == "aten::addmm"
            found = [at(pilot)]
            for _ in range(2):
                await press(pilot, "n")
                found.append(at(pilot))
            assert len({tuple(path) for path in found}) == 3
            await press(pilot, "n")
            assert at(pilot) == found[0]
            await press(pilot, "N")
            assert at(pilot) == found[2]
            await press(pilot, "s", "escape")
            await until(pilot, lambda: "found" not in screen(pilot))
            assert pilot.app.query_one("#search", Input).value == ""
            assert isinstance(pilot.app.focused, Icicle)

    play(test())


def test_search_for_what_is_not_there_says_so(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            await press(pilot, "s", *"zebra")
            await until(pilot, lambda: "nothing found" in screen(pilot))

    play(test())


def test_every_view_says_what_it_shows_or_why_it_is_empty(usual: Path) -> None:
    async def test() -> None:
        expected = {
            "layers": "layers · host time",
            "ops": "operators · host time",
            "python": "record with 'deepseek-prof run --python-stacks'",
            "kernels": "No work of accelerators",
            "memory": "record with 'deepseek-prof run --record full'",
        }
        assert list(expected) == list(VIEWS)
        async with open_pane(usual, "flame") as (pilot, pane):
            for view in (*VIEWS[1:], VIEWS[0]):
                await press(pilot, "v")
                await until(pilot, lambda view=view: expected[view] in screen(pilot))  # type: ignore[misc]
                assert pane.command(Selection()) == ("flame", "--view", view)
            await press(pilot, "V")
            await until(pilot, lambda: expected["memory"] in screen(pilot))

    play(test())


def test_host_and_accelerator_are_two_graphs(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")

    async def test() -> None:
        async with open_pane(tmp_path / "run", "flame") as (pilot, _):
            assert "layers · host time" in screen(pilot)
            await press(pilot, "p")
            await until(pilot, lambda: "layers · accelerator time" in screen(pilot))
            await press(pilot, "p")
            await until(pilot, lambda: "layers · host time" in screen(pilot))

    play(test())


def test_the_filter_is_obeyed_and_set(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame", query="phase:forward") as (pilot, pane):
            assert "layers · host time, 1.60 ms" in screen(pilot)
            await press(pilot, "down", "down", "down", "o")
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            await until(pilot, lambda: pane.drawn is app.selection and app.selection.query != "phase:forward")
            assert app.selection.query == "phase:forward layer:net.fc,net.fc.*"
            await until(pilot, lambda: "layers · host time, 800 µs" in screen(pilot))

    play(test())


def test_a_filter_that_selects_nothing_says_so(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame", query="op:zebra") as (pilot, _):
            assert "no span of this run fits the query" in screen(pilot)
            await press(pilot, "down", "enter", "o", "p", "n", "home", "s", "escape")

    play(test())


def test_the_mouse_points_selects_and_zooms(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            icicle = pilot.app.query_one(Icicle)
            top = icicle.region.y
            row, column = next(
                (y, line.index("▏fc")) for y, line in enumerate(lines(pilot)) if "▏fc" in line and y >= top
            )
            await pilot.hover(Icicle, offset=(column + 1, row - top))
            await until(pilot, lambda: "net.fc (layer)" in screen(pilot))
            assert at(pilot) == []
            await pilot.hover("FilterBar")
            await until(pilot, lambda: "net.fc (layer)" not in screen(pilot))
            await pilot.click(Icicle, offset=(column + 1, row - top))
            await pilot.pause()
            assert at(pilot)[-1] == "net.fc"
            assert filling(pilot) == []
            await pilot.click(Icicle, offset=(column + 1, row - top), times=2)
            await pilot.pause()
            assert filling(pilot)[-1] == "net.fc"

    play(test())


@pytest.mark.parametrize("size", [SMALL, LARGE, (20, 10), (7, 8)])
def test_hostile_names_do_not_break_the_screen(hostile: Path, size: tuple[int, int]) -> None:
    async def test() -> None:
        async with open_pane(hostile, "flame", size=size) as (pilot, _):
            lines(pilot)
            await press(pilot, "down", "down")
            for _ in HOSTILE:
                lines(pilot)
                await press(pilot, "enter")
                lines(pilot)
                await press(pilot, "down")
                lines(pilot)
                await press(pilot, "up", "right")

    play(test())


def test_hostile_names_are_shown_as_they_are(hostile: Path) -> None:
    async def test() -> None:
        async with open_pane(hostile, "flame", size=LARGE) as (pilot, _):
            await press(pilot, "down", "down")
            shown = []
            for _ in HOSTILE:
                shown.append(screen(pilot))
                await press(pilot, "right")
            whole = "".join(shown)
            for text in (
                "[bold red]loud[/] [@click=app.quit]quit[/]",
                r"\x1b[31mred\x1b[0m\x07",
                r"one\ntwo\ttabbed\rback",
                "注意機構の層🚀注意機構の層",
                "שכבת קשב",
                r"\u202eevil\u2066",
            ):
                assert text in whole

    play(test())


def test_a_smaller_and_a_larger_terminal(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "flame") as (pilot, _):
            for size in (LARGE, (30, 12), (80, 24)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                lines(pilot)
            assert "forward 36 %" in screen(pilot)

    play(test())


@pytest.mark.parametrize("name", [*HOSTILE.values(), "net.fc"])
def test_the_clause_of_a_layer_parses(name: str) -> None:
    clause = layer_clause(name, {f"{name}.inner", "other.inner", "third"})
    assert compile_query(clause).params


def test_the_clause_of_a_root_names_its_sub_layers() -> None:
    assert layer_clause("Net", {"conv", "blocks.0", "blocks.1"}) == "layer:Net,Net.*,blocks,blocks.*,conv,conv.*"
    assert layer_clause("blocks.0", {"blocks.0.fc"}) == "layer:blocks.0,blocks.0.*"
