"""The pane Compare: choosing the other run, the verdicts, the filter, and runs that cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.panes.compare import Compare
from deepseek_prof.tui.widgets.paged_table import PagedTable
from tests.support.drawn import Node, module, op, write_drawn_run
from tests.support.pilot import LARGE, SMALL, lines, open_pane, play, screen, until
from tests.tui.drawing import HOSTILE, write_hostile_run

STEPS = 24
CREATED_NS = 1_790_000_000_000_000_000


def write_runs(folder: Path) -> Path:
    """Two runs of 24 steps that vary by 1 %: in the second, ``fc`` takes twice the time. Returns the second."""

    def draw(fc_ns: int, name: str) -> Any:
        def step(rank: int, number: int) -> tuple[Node, ...]:
            jitter = 1 + (number * 7 % 11 - 5) / 500
            own = int(fc_ns * jitter)
            conv = int(300_000 * (2 - jitter))
            return (
                module(
                    "net",
                    own + conv + 10_000,
                    module(name, own, op("aten::addmm", own - 5_000)),
                    module("net.conv", conv, op("aten::conv2d", conv - 5_000)),
                ),
            )

        return step

    write_drawn_run(folder / "before", draw(200_000, "net.fc"), steps=STEPS, info={"created_ns": CREATED_NS})
    after = folder / "after"
    write_drawn_run(after, draw(400_000, "net.fc"), steps=STEPS, info={"created_ns": CREATED_NS + 1})
    return after


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second of two runs."""
    return write_runs(tmp_path_factory.mktemp("runs"))


async def choose(pilot: Pilot[int]) -> None:
    """Take the run under the cursor."""
    await pilot.press("enter")
    await until(pilot, lambda: "before → after" in screen(pilot))


def line_of(pilot: Pilot[int], pane: Compare, name: str) -> str:
    """The row of an entry."""
    return next(line for line in lines(pilot, pane) if line.startswith(f"{name} "))


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_what_became_slower_stands_out(after: Path, size: tuple[int, int]) -> None:
    async def test() -> None:
        async with open_pane(after, "compare", size=size) as (pilot, pane):
            assert isinstance(pane, Compare)
            assert "Compare this run with an earlier one" in screen(pilot)
            assert line_of(pilot, pane, "before").split() == ["before", "train", "finished", str(STEPS * 6)]
            await choose(pilot)
            assert "mean of 24 and 24 steps" in screen(pilot)
            assert "▲ slower" in line_of(pilot, pane, "net.fc")
            assert "2.00×" in line_of(pilot, pane, "net.fc")
            assert "≈ inconclusive" in line_of(pilot, pane, "net.conv")
            assert "▲ slower" in line_of(pilot, pane, "the step itself")
            assert pane.command(Selection()) == ("diff", "--by", "layer", str(after.parent / "before"))

    play(test())


def test_the_row_under_the_cursor_is_described(after: Path) -> None:
    async def test() -> None:
        async with open_pane(after, "compare") as (pilot, _):
            await choose(pilot)
            await pilot.press("down", "down")
            await until(pilot, lambda: "net.fc · slower · 95 % interval +" in screen(pilot))
            assert "calls a step 1 → 1" in screen(pilot)

    play(test())


def test_every_way_to_group(after: Path) -> None:
    async def test() -> None:
        async with open_pane(after, "compare") as (pilot, pane):
            await choose(pilot)
            for by, name in (("op", "aten::addmm"), ("type", "matmul"), ("phase", "forward"), ("layer", "net.fc")):
                await pilot.press("v")
                await until(pilot, lambda name=name: any(line.startswith(name) for line in lines(pilot)))  # type: ignore[misc]
                assert pane.command(Selection())[:3] == ("diff", "--by", by)

    play(test())


def test_an_entry_becomes_the_filter(after: Path) -> None:
    async def test() -> None:
        async with open_pane(after, "compare") as (pilot, pane):
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            await choose(pilot)
            await pilot.press("o")
            await pilot.pause()
            assert app.selection.query == ""
            await pilot.press("down", "down", "o")
            await until(pilot, lambda: pane.drawn is app.selection and app.selection.query != "")
            assert app.selection.query == "layer:net.fc"
            assert not any(line.startswith("net.conv") for line in lines(pilot))

    play(test())


def test_another_run_can_be_chosen(after: Path) -> None:
    async def test() -> None:
        async with open_pane(after, "compare") as (pilot, _):
            await choose(pilot)
            await pilot.press("c")
            await until(pilot, lambda: "Compare this run with an earlier one" in screen(pilot))
            await until(pilot, lambda: isinstance(pilot.app.focused, PagedTable))
            await choose(pilot)

    play(test())


def test_without_another_run_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_hostile_run(tmp_path / "alone" / "run")

    async def test() -> None:
        async with open_pane(path, "compare") as (pilot, pane):
            assert "No other run here. Record one: deepseek-prof run train.py" in screen(pilot)
            await pilot.press("enter", "v", "o", "c", "down", "up")
            await pilot.pause()
            assert pane.command(Selection()) == ("runs",)

    play(test())


def test_a_damaged_run_is_refused_and_the_list_stays(tmp_path: Path) -> None:
    path = write_runs(tmp_path)
    part = next((tmp_path / "before").rglob("spans/**/*.parquet"))
    part.write_bytes(part.read_bytes()[:-200])

    async def test() -> None:
        async with open_pane(path, "compare") as (pilot, _):
            await pilot.press("enter")
            await until(pilot, lambda: "not a complete Parquet file" in " ".join(screen(pilot).split()))
            assert "Compare this run with an earlier one" in screen(pilot)

    play(test())


@pytest.mark.parametrize("size", [SMALL, LARGE, (20, 10)])
def test_hostile_names_do_not_break_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_hostile_run(tmp_path / "after")
    write_hostile_run(tmp_path / "before")
    renamed = (tmp_path / "before" / "run.json").read_text(encoding="utf-8")
    (tmp_path / "before" / "run.json").write_text(
        renamed.replace('"train"', '"[red]\\u001b[2J\\u202e"'), encoding="utf-8"
    )

    async def test() -> None:
        async with open_pane(path, "compare", size=size) as (pilot, pane):
            lines(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: pane.command(Selection())[0] == "diff")
            await pilot.app.workers.wait_for_complete()
            for _ in range(len(HOSTILE) + 2):
                await pilot.press("down")
                await pilot.pause()
                lines(pilot)

    play(test())
