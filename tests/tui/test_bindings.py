"""Every key of every class of the TUI reaches its action, in the app, where a user would press it.

What the actions do is asserted by the tests of the panes. Here no binding is left out: a class with bindings that has
no place below fails, and so does a key that something else takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.pilot import Pilot
from textual.widget import Widget

import deepseek_prof.tui
from deepseek_prof.analysis.logs import LogRecord
from deepseek_prof.recording.program_terminal import OUTPUT_NAME
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.facet_panel import FacetPanel
from deepseek_prof.tui.filter_bar import FilterBar, QueryInput
from deepseek_prof.tui.layer_browser import LayerBrowser
from deepseek_prof.tui.live import LeaveScreen
from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.screens.export import ExportScreen
from deepseek_prof.tui.screens.help import HelpScreen, sections
from deepseek_prof.tui.screens.message import MessageScreen
from deepseek_prof.tui.screens.operator import OperatorScreen
from deepseek_prof.tui.screens.record import RecordScreen
from deepseek_prof.tui.widgets.icicle import Icicle
from deepseek_prof.tui.widgets.paged_table import PagedTable
from deepseek_prof.tui.widgets.program_view import ProgramView
from deepseek_prof.tui.widgets.timeline_chart import TimelineChart
from tests.support.drawn import EPOCH_NS
from tests.support.opened import OpenedUrls, opened_urls
from tests.support.pilot import LARGE, open_pane, play, press, until
from tests.tui.drawing import write_usual_run

__all__ = ["opened_urls"]

Place = Callable[[Pilot[Any]], Awaitable[None]]
PANE_OF: dict[type[DOMNode], str] = {
    **{pane: pane.name_of for pane in PANES},
    Icicle: "flame",
    TimelineChart: "timeline",
    PagedTable: "layers",
    ProgramView: "output",
}


def _focus(kind: type[Widget]) -> Place:
    async def place(pilot: Pilot[Any]) -> None:
        pilot.app.query_one(kind).focus()
        await pilot.pause()

    return place


async def _query_input(pilot: Pilot[Any]) -> None:
    pilot.app.query_one(FilterBar).input.value = ""
    await press(pilot, "slash")


async def _operator(pilot: Pilot[Any]) -> None:
    await press(pilot, "2", "enter")


def _pushed(make: Callable[[Pilot[Any]], Any]) -> Place:
    async def place(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(make(pilot))
        await pilot.pause()

    return place


RECORD = LogRecord(ts_ns=EPOCH_NS, rank=0, step=0, phase="forward", layer="net.fc", op="aten::mm", dur_ns=5)
"""It leads to all that a record can lead to."""
ASKED_ELSEWHERE = ("type",)
"""Actions that are offered only while a program runs: tests/tui/test_output_pane.py has one."""
PLACES: dict[type[DOMNode], Place] = {
    FacetPanel: _focus(FacetPanel),
    LayerBrowser: _focus(LayerBrowser),
    QueryInput: _query_input,
    OperatorScreen: _operator,
    RecordScreen: _pushed(lambda pilot: RecordScreen(RECORD, "12:00")),
    HelpScreen: _pushed(lambda pilot: HelpScreen(sections(pilot.app.pane))),  # type: ignore[attr-defined]
    MessageScreen: _pushed(lambda pilot: MessageScreen("title", "text")),
    ExportScreen: _pushed(lambda pilot: ExportScreen({"jsonl": ("lines", ".jsonl")}, "run", "")),
    LeaveScreen: _pushed(lambda pilot: LeaveScreen("train.py")),
}


def _bound() -> Iterator[type[DOMNode]]:
    for module in walk_packages(deepseek_prof.tui.__path__, "deepseek_prof.tui."):
        for _, kind in inspect.getmembers(import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and issubclass(kind, DOMNode) and kind.__dict__.get("BINDINGS"):
                yield kind


def _keys(kind: type[DOMNode]) -> list[tuple[str, str]]:
    """Keys and actions; what leaves the app comes last."""
    found = [(key, each.action) for each in kind.__dict__["BINDINGS"] if isinstance(each, Binding)
             for key in each.key.split(",")]  # fmt: skip
    found = [(key, action) for key, action in found if action not in ASKED_ELSEWHERE]
    return sorted(found, key=lambda each: each[1] == "quit")


async def _go_to(pilot: Pilot[Any], kind: type[DOMNode], name: str) -> None:
    """To the place of ``kind``, from wherever the key before has led."""
    app = pilot.app
    assert isinstance(app, ProfilerApp)
    while len(app.screen_stack) > 1:
        app.pop_screen()
        await pilot.pause()
    app.set_query("")
    pane = app.open_pane(name)
    assert pane is not None
    pane.focus_first()
    await until(pilot, lambda: pane.drawn is app.selection)
    await until(pilot, lambda: app.focused is not None and pane in app.focused.ancestors)
    if kind in PLACES:
        await PLACES[kind](pilot)
    else:
        assert kind in PANE_OF or issubclass(ProfilerApp, kind), f"{kind.__name__} has no place here"


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_usual_run(tmp_path_factory.mktemp("runs") / "usual")
    (run / OUTPUT_NAME).write_bytes(b"what the program wrote\r\n")
    return run


@pytest.mark.parametrize("kind", list(_bound()), ids=lambda kind: kind.__name__)
def test_every_key_reaches_its_action(
    kind: type[DOMNode], usual: Path, monkeypatch: pytest.MonkeyPatch, opened_urls: OpenedUrls
) -> None:
    ran: list[tuple[type, str]] = []
    dispatch = App._dispatch_action

    async def noted(self: App[Any], namespace: DOMNode, action_name: str, params: Any) -> bool:
        done = await dispatch(self, namespace, action_name, params)
        if done:
            ran.append((type(namespace), action_name))
        return done

    monkeypatch.setattr(App, "_dispatch_action", noted)

    async def test() -> None:
        name = PANE_OF.get(kind, "operators")
        async with open_pane(usual, name, size=LARGE) as (pilot, _):
            for key, action in _keys(kind):
                await _go_to(pilot, kind, name)
                ran.clear()
                await pilot.press(key)
                await until(pilot, lambda: bool(ran))
                owner, done = ran[0]
                assert issubclass(owner, App if action.startswith("app.") else kind), (key, owner)
                assert done == action.removeprefix("app.").partition("(")[0], key

    play(test())
