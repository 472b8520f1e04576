"""The pane Python, over a program that was really sampled, and over a run that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.widgets.icicle import Icicle
from deepseek_prof.tui.widgets.paged_table import PagedTable
from tests.support.pilot import LARGE, SMALL, lines, open_pane, play, press, screen, until
from tests.tui.drawing import write_usual_run


def under_cursor(pilot: Pilot[int]) -> str:
    """The row of the table under its cursor."""
    table = pilot.app.query_one(PagedTable)
    row = table.row_at(table.cursor)
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_hot_function_stands_first_and_its_stacks_are_marked(sampled: Path, size: tuple[int, int]) -> None:
    async def test() -> None:
        async with open_pane(sampled, "python", size=size) as (pilot, pane):
            assert "spin (program.py)" in under_cursor(pilot)
            icicle = pilot.app.query_one(Icicle)
            await until(pilot, lambda: "spin (program.py:" in icicle.cursor[-1].frame.name)
            assert "sampled · " in screen(pilot)
            assert pane.command(Selection()) == ("top", "--by", "python")
            lines(pilot)

    play(test())


def test_another_row_marks_its_own_stacks(sampled: Path) -> None:
    async def test() -> None:
        async with open_pane(sampled, "python") as (pilot, _):
            icicle = pilot.app.query_one(Icicle)
            await press(pilot, "down")
            function = under_cursor(pilot).removesuffix(")")
            await until(pilot, lambda: icicle.cursor[-1].frame.name.startswith(f"{function}:"))
            await press(pilot, "enter")
            await until(pilot, lambda: pilot.app.focused is icicle)
            around = icicle.cursor[:-1]
            await press(pilot, "up")
            assert icicle.cursor == around

    play(test())


def test_the_filter_is_obeyed(sampled: Path) -> None:
    async def test() -> None:
        async with open_pane(sampled, "python") as (pilot, pane):
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            app.set_query("layer:0")
            await until(pilot, lambda: pane.drawn is app.selection)
            assert "spin" in under_cursor(pilot)
            app.set_query("layer:nowhere")
            await until(pilot, lambda: "the query selects none" in " ".join(screen(pilot).split()))

    play(test())


def test_a_run_without_stacks_says_how_to_get_them(tmp_path: Path) -> None:
    path = write_usual_run(tmp_path / "run")

    async def test() -> None:
        async with open_pane(path, "python") as (pilot, _):
            assert "deepseek-prof run --python-stacks" in " ".join(screen(pilot).split())
            assert isinstance(pilot.app.focused, Icicle)
            await press(pilot, "down", "enter", "n", "home", "backspace")

    play(test())
