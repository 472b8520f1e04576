"""What leads out of the app: the command line, the flame graph in the browser, exports; each by its key."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from deepseek_prof.exporters.viewer import has_app
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.screens.export import ExportScreen
from deepseek_prof.tui.screens.message import MessageScreen
from tests.support.opened import OpenedUrls, opened_urls
from tests.support.pilot import LARGE, open_pane, play, press, screen, until
from tests.tui.drawing import HOSTILE, write_hostile_run, write_usual_run

__all__ = ["opened_urls"]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_usual_run(tmp_path_factory.mktemp("runs") / "usual")


def app_of(pilot: Pilot[int]) -> ProfilerApp:
    assert isinstance(pilot.app, ProfilerApp)
    return pilot.app


def fetched(url: str) -> dict[str, Any]:
    """The profile that the page at ``url`` draws."""
    with urllib.request.urlopen(f"{url}profile.speedscope.json", timeout=30) as answer:
        found = json.load(answer)
    assert isinstance(found, dict)
    return found


@pytest.mark.skipif(not has_app(), reason="this installation was built without the viewer")
def test_the_selection_opens_as_a_flame_graph_in_the_browser(usual: Path, opened_urls: OpenedUrls) -> None:
    async def test() -> str:
        async with open_pane(usual, "operators", query="type:matmul phase:backward") as (pilot, _):
            await press(pilot, "f")
            await until(pilot, lambda: bool(opened_urls.read()))
            (url,) = opened_urls.read()
            profile = await asyncio.to_thread(fetched, url)
            assert profile["name"] == "usual · type:matmul phase:backward"
            frames = {frame["name"] for frame in profile["shared"]["frames"]}
            assert "aten::mm" in frames
            assert "aten::addmm" not in frames  # forward
            await until(pilot, lambda: any(url in each.message for each in pilot.app._notifications))
            return url

    played: list[str] = []

    async def keep() -> None:
        played.append(await test())

    play(keep())
    with pytest.raises(OSError, match=r"refused"):  # it ends with the app
        fetched(played[0])


@pytest.mark.skipif(not has_app(), reason="this installation was built without the viewer")
def test_a_flame_graph_that_cannot_be_made_says_why(tmp_path: Path, opened_urls: OpenedUrls) -> None:
    run = write_usual_run(tmp_path / "run")

    async def test() -> None:
        async with open_pane(run, "operators", size=LARGE) as (pilot, _):
            next(run.glob("spans/**/part-*.parquet")).write_bytes(b"PAR1 damaged PAR1")
            await press(pilot, "f")
            await until(pilot, lambda: isinstance(pilot.app.screen, MessageScreen))
            assert "part-00000.parquet" in screen(pilot)

    play(test())
    assert opened_urls.read() == []


def test_the_command_that_says_the_same_is_copied(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "operators", query="type:matmul dur>1us") as (pilot, _):
            await press(pilot, "y")
            assert pilot.app.clipboard == (f"deepseek-prof top --by op --sort self {usual} 'type:matmul dur>1us'")
            app_of(pilot).set_query("-op:*mm")
            await press(pilot, "3", "y")
            assert pilot.app.clipboard == f"deepseek-prof top --by layer --sort total {usual} --query '-op:*mm'"

    play(test())


def test_an_export_is_written_and_nothing_is_overwritten(usual: Path, tmp_path: Path) -> None:
    from deepseek_prof.cli.tui import export_formats

    target = tmp_path / "out.jsonl"

    async def test() -> None:
        app = ProfilerApp(usual, "type:conv", formats=export_formats)
        async with app.run_test(size=LARGE) as pilot:
            await until(pilot, lambda: app.pane is not None)
            await press(pilot, "e")
            asked = app.screen
            assert isinstance(asked, ExportScreen)
            names = list(export_formats())
            asked.query_one(OptionList).highlighted = names.index("jsonl")
            await press(pilot, "enter")
            assert asked.query_one(Input).value == "usual.jsonl"
            asked.query_one(Input).value = str(usual / "run.json")
            await press(pilot, "enter")
            assert "there already" in screen(pilot)
            asked.query_one(Input).value = str(target)
            await press(pilot, "enter")
            await until(pilot, lambda: target.exists() and all(worker.is_finished for worker in app.workers))

    play(test())
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert [each["op"] for each in written] == ["aten::conv2d"] * 4


def test_a_command_that_fails_says_why(usual: Path, tmp_path: Path) -> None:
    async def test() -> None:
        app = ProfilerApp(usual, "op:nothing", formats=lambda: {"jsonl": ("lines", ".jsonl")})
        async with app.run_test(size=LARGE) as pilot:
            await until(pilot, lambda: app.pane is not None)
            await press(pilot, "e", "enter")
            app.screen.query_one(Input).value = str(tmp_path / "no" / "such" / "folder.jsonl")
            await press(pilot, "enter")
            await until(pilot, lambda: isinstance(app.screen, MessageScreen))
            assert "folder.jsonl" in screen(pilot)
            await press(pilot, "escape")
            assert not isinstance(app.screen, MessageScreen)

    play(test())


def test_hostile_names_reach_no_command_unquoted(tmp_path: Path) -> None:
    hostile = write_hostile_run(tmp_path / "run")

    async def test() -> None:
        name = HOSTILE["markup"]
        async with open_pane(hostile, "layers") as (pilot, _):
            app_of(pilot).set_query(f'layer:"{name}"'.replace("[", "\\["))
            await press(pilot, "y")
            assert "'" in pilot.app.clipboard

    play(test())
