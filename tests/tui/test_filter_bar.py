"""The filter bar: typing, completion, history, errors in place."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import OptionList

from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.filter_bar import FilterBar
from deepseek_prof.tui.history import History
from tests.support.pilot import open_pane, play, press, screen, until
from tests.tui.drawing import write_usual_run


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_usual_run(tmp_path_factory.mktemp("runs") / "usual")


def bar(pilot: Pilot[int]) -> FilterBar:
    return pilot.app.query_one(FilterBar)


def offered(pilot: Pilot[int]) -> list[str]:
    choices = bar(pilot).query_one(OptionList)
    if not choices.has_class("shown"):
        return []
    return [str(choices.get_option_at_index(index).prompt) for index in range(choices.option_count)]


async def write(pilot: Pilot[int], text: str) -> None:
    await pilot.press(*[{" ": "space"}.get(char, char) for char in text])
    await pilot.pause()


def query(pilot: Pilot[int]) -> str:
    assert isinstance(pilot.app, ProfilerApp)
    return pilot.app.selection.query


def test_what_is_typed_filters_without_enter(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, pane):
            await press(pilot, "slash")
            await write(pilot, "type:conv")
            await until(pilot, lambda: query(pilot) == "type:conv")
            await until(pilot, lambda: pane.drawn is not None and pane.drawn.query == "type:conv")
            assert "aten::conv2d" in screen(pilot)
            assert "aten::mm" not in screen(pilot)
            await press(pilot, "enter")
            assert pilot.app.focused in list(pane.query("*"))

    play(test())


def test_an_error_is_shown_in_place_and_the_last_good_query_stays(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators", query="type:conv") as (pilot, _):
            await press(pilot, "slash")
            await write(pilot, " stp:3")
            await until(pilot, lambda: 'did you mean "step"?' in screen(pilot))
            assert "column 11" in screen(pilot)
            assert "stp:" not in query(pilot)  # but words on the way to it may have been
            await press(pilot, "enter")
            assert bar(pilot).input.has_focus
            await pilot.press(*["backspace"] * 6)
            await until(pilot, lambda: not bar(pilot).problem)

    play(test())


def test_fields_types_layers_and_events_complete(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, _):
            await press(pilot, "slash")
            await write(pilot, "ph")
            assert offered(pilot)[0].startswith("phase:")
            await press(pilot, "tab")
            assert bar(pilot).input.value == "phase:"
            values = offered(pilot)
            assert {"backward", "data", "forward"} <= set(values)
            await press(pilot, "down", "tab")
            assert bar(pilot).input.value == f"phase:{values[1]}"
            await until(pilot, lambda: query(pilot) == f"phase:{values[1]}")

    play(test())


def test_names_of_this_run_complete(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, _):
            await until(pilot, lambda: bool(bar(pilot)._known))
            await press(pilot, "slash")
            await write(pilot, "layer:net.f")
            assert offered(pilot) == ["net.fc"]
            await press(pilot, "tab")
            assert bar(pilot).input.value == "layer:net.fc"

    play(test())


def test_escape_closes_the_list_then_leaves(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, pane):
            await press(pilot, "slash")
            await write(pilot, "ty")
            assert offered(pilot)
            await press(pilot, "escape")
            assert not offered(pilot)
            assert bar(pilot).input.has_focus
            await press(pilot, "escape")
            assert pilot.app.focused in list(pane.query("*"))

    play(test())


def test_a_click_takes_a_completion(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators") as (pilot, _):
            await press(pilot, "slash")
            await write(pilot, "phase:fo")
            assert offered(pilot) == ["forward"]
            await pilot.click(OptionList, offset=(2, 0))
            assert bar(pilot).input.value == "phase:forward"

    play(test())


def test_earlier_queries_come_back(usual: Path, tmp_path: Path) -> None:
    file = tmp_path / "state" / "queries.jsonl"

    async def enter(text: str) -> None:
        app = ProfilerApp(usual, history=file)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.pane is not None)
            await press(pilot, "slash")
            await write(pilot, text)
            await press(pilot, "enter")
            await until(pilot, lambda: query(pilot) == text)

    async def test() -> None:
        await enter("type:conv")
        await enter("phase:backward")
        app = ProfilerApp(usual, history=file)
        async with app.run_test() as pilot:
            await until(pilot, lambda: app.pane is not None)
            await press(pilot, "slash", "up")
            assert bar(pilot).input.value == "phase:backward"
            await press(pilot, "up")
            assert bar(pilot).input.value == "type:conv"
            await press(pilot, "down", "down")
            assert bar(pilot).input.value == ""

    play(test())


def test_history_keeps_the_newest_and_survives_a_torn_file(tmp_path: Path) -> None:
    file = tmp_path / "queries.jsonl"
    history = History(file)
    for text in ("a", "b", "a", "  ", "type:\x1b[31m"):
        history.add(text)
    assert history.queries == ("b", "a", "type:\x1b[31m")
    file.write_text(file.read_text() + '"cut')
    assert History(file).queries == ("b", "a", "type:\x1b[31m")


def test_a_history_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    history = History(blocked / "queries.jsonl")
    assert "cannot be read" in history.problem
    history.add("type:conv")
    assert history.queries == ("type:conv",)
