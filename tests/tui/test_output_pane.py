"""The pane Output, and leaving while the program runs; the program is a real one on a terminal of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.selection import Selection

from deepseek_prof.config import RunSettings
from deepseek_prof.narration import HeldNarrator
from deepseek_prof.recording.command import Command
from deepseek_prof.recording.live_program import LiveProgram
from deepseek_prof.recording.program_terminal import OUTPUT_NAME, ProgramTerminal
from deepseek_prof.recording.run_directory import create_run_directory
from deepseek_prof.recording.signals import SignalRelay
from deepseek_prof.recording.supervisor import start_command
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.live import LeaveScreen
from deepseek_prof.tui.widgets.program_view import ProgramView
from tests.support.pilot import SMALL, open_pane, play, press, screen, until
from tests.tui.drawing import write_usual_run

ASKS = "print('\x1b[31mREADY\x1b[0m')\nprint('hello', input('name? '))\n"
WAITS = "import time\nprint('READY')\nwhile True: time.sleep(0.01)\n"

Start = Callable[[str], LiveProgram]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts code as ``run --live`` does, its run in ``run``."""
    started: list[LiveProgram] = []

    def begin(code: str) -> LiveProgram:
        command = Command((sys.executable, "-u", "-c", code), "code", sys.executable)
        settings = RunSettings(output=tmp_path / "run", recorder="kineto")
        run_dir = create_run_directory(settings, command.argv, command.script, command.python)
        narrator = HeldNarrator()
        narrator.holding = True
        terminal = ProgramTerminal(run_dir / OUTPUT_NAME, 79, 19)
        recording = start_command(command, run_dir, settings, [], narrator, terminal.spawn)
        started.append(LiveProgram("code", recording, terminal, SignalRelay(own_terminal=True), narrator))
        return started[0]

    yield begin
    for program in started:
        program.terminal.interrupt()
        program.outcome()
        program.terminal.drain()
        program.terminal.close()


def live(program: LiveProgram, test: Callable[[Pilot[int]], object], size: tuple[int, int] = SMALL) -> None:
    """Play ``test`` in the app that ``run --live`` opens."""

    async def run() -> None:
        app = ProfilerApp(program.output.parent, program=program)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.pane is not None and app.pane.name_of == "output")
            await until(pilot, lambda: isinstance(app.focused, ProgramView))
            await test(pilot)  # type: ignore[misc]  # an async function

    play(run())


def view(pilot: Pilot[int]) -> ProgramView:
    return pilot.app.query_one(ProgramView)


def asked(pilot: Pilot[int]) -> bool:
    """Whether what becomes of the program is being asked."""
    return isinstance(pilot.app.screen, LeaveScreen)


async def shows(pilot: Pilot[int], text: str) -> None:
    """Wait until the screen does."""
    await until(pilot, lambda: text in screen(pilot))


def test_keys_go_to_the_program_only_when_asked(start: Start) -> None:
    async def test(pilot: Pilot[int]) -> None:
        await shows(pilot, "name?")
        await press(pilot, "2")
        assert pilot.app.pane.name_of == "operators"  # type: ignore[attr-defined]
        await press(pilot, "9")
        await until(pilot, lambda: isinstance(pilot.app.focused, ProgramView))
        await press(pilot, "i")
        await shows(pilot, "keys go to code")
        await press(pilot, "2", "q", "slash", "question_mark", "left", "x")
        await shows(pilot, "name? 2q/?")
        await press(pilot, "f2")
        assert not view(pilot).typing
        await press(pilot, "enter")
        assert view(pilot).typing
        await press(pilot, "ctrl+right_square_bracket")
        assert not view(pilot).typing

    live(start(ASKS), test)


def test_end_of_the_program_is_told_and_the_run_completed(start: Start) -> None:
    program = start(ASKS)

    async def test(pilot: Pilot[int]) -> None:
        await shows(pilot, "name?")
        await press(pilot, "i", "a", "d", "a", "enter")
        await shows(pilot, "code: exit status 0")
        assert "hello ada" in screen(pilot)
        assert not view(pilot).typing
        await shows(pilot, "finished")
        assert program.completed
        await press(pilot, "i")
        assert not view(pilot).typing
        await press(pilot, "q")
        assert pilot.app.return_value == 0

    live(program, test)


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_leaving_asks_while_the_program_runs(key: str, start: Start) -> None:
    program = start(WAITS)

    async def test(pilot: Pilot[int]) -> None:
        await shows(pilot, "READY")
        await press(pilot, key)
        assert asked(pilot)
        assert "still runs" in screen(pilot)
        await press(pilot, "escape")
        assert not asked(pilot)
        await press(pilot, key, "l")
        await until(pilot, lambda: not pilot.app.is_running)

    live(program, test)
    assert program.running


@pytest.mark.parametrize("keys", [("ctrl+c", "ctrl+c"), ("q", "s")])
def test_stopping_interrupts_the_program(keys: tuple[str, str], start: Start) -> None:
    program = start(WAITS)

    async def test(pilot: Pilot[int]) -> None:
        await shows(pilot, "READY")
        await press(pilot, keys[0])
        await press(pilot, keys[1])
        await until(pilot, lambda: not pilot.app.is_running)

    live(program, test)
    program.wait()
    assert program.ending == "ended by SIGINT"


def test_lines_wrap_anew_at_another_width(start: Start) -> None:
    async def test(pilot: Pilot[int]) -> None:
        await until(pilot, lambda: view(pilot).lines == ["x" * 79, "x" * 21, "READY", ""])
        await pilot.resize_terminal(70, 20)
        await until(pilot, lambda: view(pilot).lines == ["x" * 69, "x" * 31, "READY", ""])

    live(start(f"print('x' * 100)\n{WAITS}"), test)


def test_hostile_output_stays_in_its_pane(start: Start) -> None:
    hostile = "[bold]markup[/bold] \\u202eturned 漢字 e\\u0301 \\x1b]0;title\\x07\\x1b[?1003h\\x1b[?25l\\x9b31m end"

    async def test(pilot: Pilot[int]) -> None:
        await shows(pilot, "READY")
        shown = screen(pilot)  # checks that every line is as wide as the screen
        assert "[bold]markup[/bold] turned 漢字 e\u0301" in shown
        assert "9 Output" in shown

    live(start(f"print('{hostile}')\n{WAITS}"), test)


def test_warnings_of_the_recording_are_shown_and_kept(start: Start) -> None:
    program = start(WAITS)

    async def test(pilot: Pilot[int]) -> None:
        program.narrator.warn("the disk is full")
        await until(pilot, lambda: len(pilot.app._notifications) == 1)
        assert [each.message for each in pilot.app._notifications] == ["warning: the disk is full"]

    live(program, test)
    assert program.narrator.held == ["warning: the disk is full"]


def test_output_of_a_recorded_run_can_be_read_and_selected(tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")
    (run / OUTPUT_NAME).write_bytes(b"\x1b[32mfirst\x1b[0m line\r\nsecond line\r\n")

    async def test() -> None:
        async with open_pane(run, "output") as (pilot, _):
            await shows(pilot, "second line")
            assert "recorded output" in screen(pilot)
            await press(pilot, "i")
            assert not view(pilot).typing
            chosen = Selection(Offset(6, 0), Offset(6, 1))
            assert view(pilot).get_selection(chosen)[0] == "line\nsecond"

    play(test())


def test_much_output_is_passed_over_and_its_end_shown(tmp_path: Path) -> None:
    run = write_usual_run(tmp_path / "run")
    (run / OUTPUT_NAME).write_bytes(b"".join(b"line %d\r\n" % number for number in range(200_000)))

    async def test() -> None:
        async with open_pane(run, "output") as (pilot, _):
            await shows(pilot, "line 199999")
            assert view(pilot).lines[-2] == "line 199999"
            await press(pilot, "home")
            assert "199999" not in screen(pilot)
            await press(pilot, "end")
            await shows(pilot, "line 199999")

    play(test())


def test_run_without_output_says_how_to_get_it(tmp_path: Path) -> None:
    async def test() -> None:
        app = ProfilerApp(write_usual_run(tmp_path / "run"))
        async with app.run_test(size=SMALL) as pilot:
            await until(pilot, lambda: app.pane is not None)
            await press(pilot, "9")
            await shows(pilot, "went to its own terminal")

    play(test())
