"""The pane Timeline: lanes, gaps, zoom and pan by keys and mouse, calls looked up, streams, and hostile names."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from deepseek_prof.analysis import timeline
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.panes.timeline import Timeline
from deepseek_prof.tui.widgets.timeline_chart import TimelineChart
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.drawn import EPOCH_NS
from tests.support.pilot import LARGE, SMALL, lines, open_pane, play, press, screen, until
from tests.tui.drawing import write_hostile_run, write_usual_run

STEP_NS = 1_000_000


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four equal steps of 1 ms."""
    return write_usual_run(tmp_path_factory.mktemp("runs") / "usual")


def chart(pilot: Pilot[int]) -> TimelineChart:
    """The widget."""
    return pilot.app.query_one(TimelineChart)


def at(pilot: Pilot[int]) -> str:
    """The name of the span under the cursor; empty in a gap."""
    cursor = chart(pilot).cursor
    assert cursor is not None
    return "" if cursor.frame is None else cursor.frame.name


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_usual_step_thread_by_thread(usual: Path, size: tuple[int, int]) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline", size=size) as (pilot, _):
            shown = lines(pilot)
            assert any("1.00 ms · threads and streams: 2" in line for line in shown)
            headers = [line.strip() for line in shown if "busy" in line]
            assert [line.partition(" · ")[2] for line in headers] == [
                "thread 4200 · 80 % busy",
                "thread 77 · 30 % busy",
            ]
            (axis,) = (line for line in shown if "╷0" in line)
            assert "µs" in axis

    play(test())


def test_a_gap_is_left_open(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline", size=(100, 24)) as (pilot, _):
            shown = lines(pilot)
            header = next(y for y, line in enumerate(shown) if "thread 4200" in line)
            # 400 µs of net, 200 µs of nothing, 400 µs of backward.
            lane = shown[header + 1]
            assert lane[:4] == "▏net"
            assert lane[40:60] == " " * 20
            assert lane[60:69] == "▏backward"

    play(test())


def test_arrows_go_from_span_to_span_and_lane_to_lane(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline") as (pilot, _):
            assert at(pilot) == "net"
            await press(pilot, "right")
            assert at(pilot) == "backward"
            await press(pilot, "left", "left", "down")
            assert at(pilot) == "net.fc"
            assert "net.fc (layer), 200 µs" in screen(pilot)
            assert "from 100 µs in net" in screen(pilot)
            await press(pilot, "left", "down")
            assert at(pilot) == "aten::conv2d"
            await press(pilot, "down", "down", "down")
            assert at(pilot) == "aten::stack"
            await press(pilot, "down", "right")
            assert at(pilot) == "aten::stack"
            await press(pilot, "up", "up", "up", "up", "up", "up")
            assert at(pilot) == "net"

    play(test())


def test_gaps_are_found_longest_first(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline", query="step:0..1") as (pilot, _):
            await press(pilot, "g")
            cursor = chart(pilot).cursor
            assert cursor is not None
            assert (cursor.frame, cursor.start_ns, cursor.end_ns) == (None, 400_000, 600_000)
            assert "nothing recorded for 200 µs" in screen(pilot)
            assert chart(pilot).view == (170_000, 830_000)
            await press(pilot, "g")
            cursor = chart(pilot).cursor
            assert cursor is not None
            assert (cursor.start_ns, cursor.end_ns) == (STEP_NS + 400_000, STEP_NS + 600_000)
            await press(pilot, "right")
            assert at(pilot) == "backward"

    play(test())


def test_zoom_and_pan_stay_inside_the_time(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline") as (pilot, _):
            whole = (0.0, float(STEP_NS))
            assert chart(pilot).view == whole
            await press(pilot, "w")
            start, end = chart(pilot).view
            assert end - start == STEP_NS / 2
            await press(pilot, "d")
            assert chart(pilot).view == (start + STEP_NS / 8, end + STEP_NS / 8)
            await press(pilot, *"dddddddd")
            assert chart(pilot).view == (STEP_NS / 2, STEP_NS)
            await press(pilot, *"aaaaaaaa")
            assert chart(pilot).view == (0, STEP_NS / 2)
            await press(pilot, "s", "minus", "minus")
            assert chart(pilot).view == whole
            await press(pilot, *(["plus"] * 30))
            start, end = chart(pilot).view
            assert 0 < end - start <= 200
            lines(pilot)
            await press(pilot, "home")
            assert chart(pilot).view == whole
            await press(pilot, "down", "enter")
            start, end = chart(pilot).view
            assert (start, end) == (90_000, 310_000)
            assert "net.fc" in screen(pilot)

    play(test())


@pytest.mark.parametrize("query", ["", "step:3"])
def test_a_call_found_elsewhere_is_looked_up(usual: Path, query: str) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline", query=query) as (pilot, pane):
            assert isinstance(pane, Timeline)
            # The addmm of step 3 begins after conv: the first 100 µs.
            pane.show_call(EPOCH_NS + 3 * STEP_NS + 100_000, 160_000, 3)
            await until(pilot, lambda: at(pilot) == "aten::addmm")
            start, end = chart(pilot).view
            assert (start, end) == (92_000, 268_000)

    play(test())


def test_a_call_outside_of_what_is_shown_leaves_the_chart_whole(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline", query="step:2") as (pilot, pane):
            assert isinstance(pane, Timeline)
            pane.show_call(EPOCH_NS, 160_000, 0)
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            assert chart(pilot).view == (0, STEP_NS)
            lines(pilot)

    play(test())


def test_brackets_lead_from_step_to_step(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline") as (pilot, _):
            # Of four equal steps the first after warm-up is the usual one: there is no warm-up.
            await until(pilot, lambda: "step 0, 1.00 ms" in screen(pilot))
            await press(pilot, "right_square_bracket")
            await until(pilot, lambda: "step 1, 1.00 ms" in screen(pilot))
            await press(pilot, "left_square_bracket", "left_square_bracket")
            await until(pilot, lambda: "step 0, 1.00 ms" in screen(pilot))
            for _ in range(4):
                await press(pilot, "right_square_bracket")
            await until(pilot, lambda: "Step 4 holds no span" in screen(pilot))
            await press(pilot, "left_square_bracket")
            await until(pilot, lambda: "step 3, 1.00 ms" in screen(pilot))

    play(test())


def test_the_place_is_kept_when_the_run_is_read_again(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline") as (pilot, pane):
            await press(pilot, "down", "right", "w")
            view, span = chart(pilot).view, at(pilot)
            pane.drawn = None
            pane.refresh_data()
            await until(pilot, lambda: pane.drawn is not None)
            assert (chart(pilot).view, at(pilot)) == (view, span)

    play(test())


def test_streams_of_devices_have_lanes_of_their_own(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")

    async def test() -> None:
        async with open_pane(tmp_path / "run", "timeline", size=LARGE) as (pilot, _):
            assert any("stream" in line and "busy" in line for line in lines(pilot))

    play(test())


def test_what_is_too_much_says_how_to_narrow_it(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_SPANS", 5)

    async def test() -> None:
        async with open_pane(usual, "timeline") as (pilot, pane):
            shown = " ".join(screen(pilot).split())
            assert "a timeline shows at most 5" in shown
            assert "step:7" in shown
            await press(pilot, "left", "right", "up", "down", "w", "s", "a", "d", "enter", "g", "home")
            assert pane.command(Selection()) == ("flame", "--view", "timeline")
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            app.set_query("op:aten::conv2d")
            await until(pilot, lambda: "threads and streams: 1" in screen(pilot))

    play(test())


def test_the_mouse_points_selects_and_zooms(usual: Path) -> None:
    async def test() -> None:
        async with open_pane(usual, "timeline") as (pilot, _):
            top = chart(pilot).region.y
            row, column = next((y, line.index("fc")) for y, line in enumerate(lines(pilot)) if "▏fc" in line)
            await pilot.hover(TimelineChart, offset=(column, row - top))
            await until(pilot, lambda: "net.fc (layer)" in screen(pilot))
            assert at(pilot) == "net"
            await pilot.hover("FilterBar")
            await until(pilot, lambda: "net (layer)" in screen(pilot))
            await pilot.click(TimelineChart, offset=(column, row - top))
            await pilot.pause()
            assert at(pilot) == "net.fc"
            assert chart(pilot).view == (0, STEP_NS)
            await pilot.click(TimelineChart, offset=(column, row - top), times=2)
            await pilot.pause()
            assert chart(pilot).view == (90_000, 310_000)
            await pilot.click(TimelineChart, offset=(3, 0))
            await pilot.click(TimelineChart, offset=(3, 1))
            assert at(pilot) == "net.fc"

    play(test())


@pytest.mark.parametrize("size", [SMALL, LARGE, (20, 10), (7, 8)])
def test_hostile_names_do_not_break_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_hostile_run(tmp_path / "run")

    async def test() -> None:
        async with open_pane(path, "timeline", size=size) as (pilot, _):
            spans = [at(pilot)]
            for _ in range(20):
                lines(pilot)
                await press(pilot, "right")
                spans.append(at(pilot))
            assert len(set(spans)) > 5
            await press(pilot, "down", "enter")
            lines(pilot)
            await press(pilot, "w", "w", "g", "s")
            lines(pilot)

    play(test())
