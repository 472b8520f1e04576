"""A run that is still being recorded: before its first operator, in its first step, and when the app is left."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from deepseek_prof.analysis.operator_calls import Spread, operator_spreads
from deepseek_prof.model import Kind
from deepseek_prof.recording.converter import LOCK_NAME
from deepseek_prof.trace.run import Condition, Run
from deepseek_prof.tui import pane as pane_module
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.panes import PANES, operators
from deepseek_prof.tui.panes.output import Output
from tests.support.drawn import write_drawn_run
from tests.support.live import WrittenProcess, add_process, make_run
from tests.support.pilot import SMALL, open_pane, play, screen, until

NAMES = [pane.name_of for pane in PANES if pane is not Output]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run that somebody records: the converter's lock is held."""
    path = make_run(tmp_path / "run")
    with (path / "live" / LOCK_NAME).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


def begin(run: Path) -> WrittenProcess:
    """A process in its first step: one operator of one layer, and no step has ended."""
    process = add_process(run)
    layer = process.context("net", kind=Kind.LAYER)
    process.spans(7, [(6_000, 500, 500, process.context("aten::mm", layer)), (5_900, 700, 200, layer)])
    return process


async def shows(pilot: Pilot[Any], text: str) -> None:
    """Wait until the screen does."""
    await until(pilot, lambda: text in screen(pilot))


def test_before_the_first_operator_every_pane_says_so(run: Path) -> None:
    async def test() -> None:
        async with open_pane(run, NAMES[0]) as (pilot, _):
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            for name in NAMES:
                app.open_pane(name)
                await until(pilot, lambda: app.pane is not None and app.pane.drawn is app.selection)
                shown = " ".join(screen(pilot).split())
                assert "● recording" in shown
                assert "This run cannot be shown" not in shown
                if name in ("overview", "operators", "layers"):
                    assert "Nothing has been recorded yet" in shown

    play(test())


def test_the_first_step_is_shown_while_it_runs(run: Path) -> None:
    async def test() -> None:
        async with open_pane(run, "operators") as (pilot, _):
            process = begin(run)
            await shows(pilot, "aten::mm")
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            for name, text in (("layers", "net"), ("overview", "none finished yet"), ("flame", "net 100 %")):
                app.open_pane(name)
                await shows(pilot, text)
            process.spans(7, [(7_000, 900, 900, process.context("aten::relu"))])
            app.open_pane("operators")
            await shows(pilot, "aten::relu")

    play(test())


def test_a_tick_that_comes_while_the_app_is_left_does_nothing(run: Path) -> None:
    async def test() -> None:
        app = ProfilerApp(run)
        async with app.run_test(size=SMALL) as pilot:
            await until(pilot, lambda: app.pane is not None)
        await app._follow()

    play(test())


def test_an_empty_run_that_is_over_says_nothing_of_waiting(tmp_path: Path) -> None:
    run = write_drawn_run(tmp_path / "empty", with_steps=False)

    async def test() -> None:
        for name, text in (("operators", "Nothing selected."), ("layers", "This run has no layers")):
            async with open_pane(run, name) as (pilot, _):
                assert text in screen(pilot)

    play(test())


def test_what_reads_every_span_rests_while_the_run_is_recorded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(found: Run, condition: Condition | None = None) -> dict[str, Spread]:
        asked.append(condition)
        return operator_spreads(found, condition)

    monkeypatch.setattr(operators, "operator_spreads", noted)
    monkeypatch.setattr(pane_module, "REST_PER_COST", 1e9)
    process = begin(run)

    async def test() -> None:
        async with open_pane(run, "operators") as (pilot, _):
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            pane = app.query_one(operators.Operators)
            await until(pilot, lambda: "aten::mm" in pane.spreads)
            for number, name in enumerate(("aten::relu", "aten::add", "aten::sum")):
                process.spans(7, [(7_000 + 1_000 * number, 900, 900, process.context(name))])
                await shows(pilot, name)
                assert "aten::mm" in pane.spreads  # they stay as they are
                assert name not in pane.spreads
            assert len(asked) == 1
            app.set_query("op:aten::relu")
            await until(pilot, lambda: list(pane.spreads) == ["aten::relu"])
            assert len(asked) == 2

    play(test())
