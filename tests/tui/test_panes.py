"""Overview, Operators, Layers, Logs and the side bar over one fixed run: every key, and where it leads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from deepseek_prof.importing.importer import import_traces
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.facet_panel import FacetPanel
from deepseek_prof.tui.layer_browser import LayerBrowser
from deepseek_prof.tui.panes.logs import Logs
from deepseek_prof.tui.panes.timeline import Timeline
from deepseek_prof.tui.screens.operator import OperatorScreen
from deepseek_prof.tui.screens.record import RecordScreen
from deepseek_prof.tui.widgets.paged_table import PagedTable
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.drawn import EPOCH_NS
from tests.support.pilot import LARGE, lines, open_pane, play, press, screen, until
from tests.tui.drawing import write_usual_run

EVENTS = (
    {"ts_ns": EPOCH_NS + 5, "level": "info", "event": "run_start", "fields": {"command": "python train.py"}},
    {"ts_ns": EPOCH_NS + 900_000, "level": "info", "event": "epoch", "step": 0, "fields": {"loss": 0.5}},
    {
        "ts_ns": EPOCH_NS + 1_900_000,
        "level": "warning",
        "event": "log",
        "step": 1,
        "layer": "net.fc",
        "fields": {"message": "[bold]loud[/] \x1b[31mred", "loss": 0.25},
    },
    {"ts_ns": EPOCH_NS + 1_950_000, "level": "info", "event": "epoch", "step": 1, "fields": {"loss": 0.125}},
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_usual_run(tmp_path_factory.mktemp("runs") / "usual", steps=6)
    folder = run / "logs" / "rank=0" / "pid=4200"
    folder.mkdir(parents=True)
    (folder / "part-00000.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in EVENTS))
    return run


def query(pilot: Pilot[int]) -> str:
    assert isinstance(pilot.app, ProfilerApp)
    return pilot.app.selection.query


def table(pilot: Pilot[int]) -> PagedTable:
    """That of the pane which is seen."""
    assert isinstance(pilot.app, ProfilerApp)
    assert pilot.app.pane is not None
    return pilot.app.pane.query_one(PagedTable)


def names(pilot: Pilot[int]) -> list[str]:
    """The first column of what is shown in the pane's table."""
    shown = [table(pilot).row_at(number) for number in range(table(pilot).row_count)]
    cells = [row[0] for row in shown if row is not None]
    return [(cell if isinstance(cell, str) else cell[0]).strip() for cell in cells]


def test_the_overview_says_what_bounds_the_run_and_what_to_do(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "overview", size=LARGE) as (pilot, _):
            await until(pilot, lambda: "being looked for" not in screen(pilot))
            shown = screen(pilot)
            assert "Next " in shown
            assert "Phases" in shown
            assert "6 from first to last" in shown
            assert "epoch loss" in shown
            assert "Findings" in shown

    play(test())


def test_the_overview_of_a_filter_says_its_share(path: Path) -> None:
    async def test() -> None:
        # Per step 1.1 ms of self time, 0.3 ms of it on loading data.
        async with open_pane(path, "overview", query="phase:data") as (pilot, _):
            assert "1.80 ms of self time, 27 % of the run's" in screen(pilot)
            assert "Selected self time by step" in screen(pilot)

    play(test())


def test_operators_are_sorted_by_key_and_by_click(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "operators", size=LARGE) as (pilot, _):
            assert names(pilot)[:2] == ["aten::stack", "aten::mm"]
            await press(pilot, "s")
            assert "total▾" in screen(pilot)
            assert names(pilot)[:2] == ["AddmmBackward0", "aten::stack"]
            header = next(line for line in lines(pilot) if "operator" in line and "total▾" in line)
            row = lines(pilot).index(header)
            await pilot.click(offset=(header.index("▕operator") + 2, row))
            assert names(pilot) == sorted(names(pilot))

    play(test())


def test_percentiles_and_trends_come_after_the_sums(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "operators", size=LARGE) as (pilot, _):
            await until(pilot, lambda: "…" not in screen(pilot).split("operator ")[-1])
            line = next(line for line in lines(pilot) if "aten::mm " in line)
            assert line.count("280 µs") == 2  # the mean, and the 99th percentile

    play(test())


def test_an_operator_opens_and_leads_to_its_layer(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "operators", query="type:matmul", size=LARGE) as (pilot, _):
            assert names(pilot)[0] == "aten::mm"
            await press(pilot, "enter")
            await until(pilot, lambda: "slowest calls" in screen(pilot) and "net.fc" in screen(pilot))
            assert isinstance(pilot.app.screen, OperatorScreen)
            assert "1.68 ms in 6 calls" in screen(pilot)
            await press(pilot, "enter")
            assert query(pilot) == "type:matmul op:aten::mm layer:net.fc"

    play(test())


@pytest.mark.parametrize("keys", [("t",), ("tab", "enter")])
def test_an_operators_slowest_call_is_shown_on_the_timeline(path: Path, keys: tuple[str, ...]) -> None:
    async def test() -> None:
        async with open_pane(path, "operators", query="type:matmul", size=LARGE) as (pilot, _):
            await press(pilot, "enter")
            await until(pilot, lambda: "280 µs" in screen(pilot))
            await press(pilot, *keys)
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            await until(pilot, lambda: isinstance(app.pane, Timeline) and app.pane.drawn is app.selection)
            await until(pilot, lambda: "aten::mm (matmul), 280 µs" in screen(pilot))
            assert query(pilot) == "type:matmul"

    play(test())


def test_escape_closes_an_operator(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "operators") as (pilot, _):
            below = pilot.app.screen
            await press(pilot, "enter")
            assert isinstance(pilot.app.screen, OperatorScreen)
            await press(pilot, "escape")
            assert pilot.app.screen is below
            assert query(pilot) == ""

    play(test())


def test_the_layer_tree_opens_shuts_and_sorts(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "layers", size=LARGE) as (pilot, _):
            assert names(pilot) == ["▾ net", "fc", "conv"]
            await press(pilot, "left")
            assert names(pilot) == ["▸ net"]
            await press(pilot, "right", "down", "left")
            assert names(pilot) == ["▾ net", "fc", "conv"]
            assert table(pilot).cursor == 0  # left on a leaf leads to the layer around it
            await press(pilot, "minus")
            await press(pilot, "plus")
            assert names(pilot) == ["▾ net", "fc", "conv"]
            while "layer▾" not in screen(pilot):
                await press(pilot, "s")
            assert names(pilot) == ["▾ net", "conv", "fc"]
            line = next(line for line in lines(pilot) if "▾ net" in line and "ms" in line)
            # 700 µs a step: 400 forward, 300 backward.
            assert "4.20 ms" in line
            assert "2.40 ms" in line
            assert "1.80 ms" in line

    play(test())


def test_the_order_falls_back_where_its_column_goes_with_a_filter(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")

    async def test() -> None:
        async with open_pane(tmp_path / "run", "layers", size=LARGE) as (pilot, pane):
            while "device▾" not in screen(pilot):
                await press(pilot, "s")
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            app.set_query("-kind:kernel,memcpy")
            await until(pilot, lambda: pane.drawn is app.selection)
            assert "device" not in lines(pilot, table(pilot))[0]
            await press(pilot, "s")
            assert "layer▾" in screen(pilot)

    play(test())


def test_overview_says_why_an_accelerator_is_idle(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")

    async def test() -> None:
        async with open_pane(tmp_path / "run", "overview", size=LARGE) as (pilot, _):
            await until(pilot, lambda: "Accelerators" in screen(pilot))
            assert "rank 0 cuda:0: idle 12 %" in screen(pilot)

    play(test())


def test_choosing_a_layer_filters_every_pane(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "layers", query="type:matmul") as (pilot, _):
            await press(pilot, "down", "enter")
            assert query(pilot) == "type:matmul layer:net.fc"
            await press(pilot, "2")
            await until(pilot, lambda: "aten::addmm" in screen(pilot))
            assert "aten::conv2d" not in screen(pilot)

    play(test())


def test_logs_are_one_stream_and_a_record_opens(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "logs", query="level:warning", size=LARGE) as (pilot, _):
            await until(pilot, lambda: "loud" in screen(pilot))
            assert "[bold]loud[/] \\x1b[31mred" in screen(pilot)
            assert "record 1 of 1" in screen(pilot)
            await press(pilot, "enter")
            assert isinstance(pilot.app.screen, RecordScreen)
            assert "loss" in screen(pilot)
            assert "0.25" in screen(pilot)
            await press(pilot, "l")
            assert query(pilot) == "level:warning layer:net.fc"
            assert isinstance(pilot.app, ProfilerApp)
            assert pilot.app.pane is not None
            assert pilot.app.pane.name_of == "layers"

    play(test())


def test_a_span_leads_from_the_log_to_operator_and_timeline(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "logs", query="op:aten::mm", size=LARGE) as (pilot, _):
            await until(pilot, lambda: "record 1 of 6" in screen(pilot) and "280 µs" in screen(pilot))
            await press(pilot, "down", "enter", "t")
            app = pilot.app
            assert isinstance(app, ProfilerApp)
            await until(pilot, lambda: isinstance(app.pane, Timeline) and "aten::mm (matmul)" in screen(pilot))
            await press(pilot, "6")
            await until(pilot, lambda: "280 µs" in screen(pilot))
            await press(pilot, "enter", "o")
            await until(pilot, lambda: app.pane is not None and app.pane.name_of == "operators")
            await until(pilot, lambda: names(pilot) == ["aten::mm"])

    play(test())


def test_following_stays_with_the_newest_until_one_moves_up(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "logs") as (pilot, pane):
            assert isinstance(pane, Logs)
            await press(pilot, "o")
            assert "following" in screen(pilot)
            assert table(pilot).cursor == table(pilot).row_count - 1
            await press(pilot, "up")
            assert "following" not in screen(pilot)
            await press(pilot, "home", "l")
            assert query(pilot) == ""  # the first record belongs to no layer

    play(test())


def test_a_facet_filters_and_lifts_its_filter(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "operators", size=LARGE) as (pilot, _):
            await until(pilot, lambda: "phase" in screen(pilot) and "■" not in screen(pilot))
            facets = pilot.app.query_one(FacetPanel)
            facets.focus()
            await press(pilot, "space")
            chosen = query(pilot)
            assert chosen.startswith("type:")
            await until(pilot, lambda: "■" in screen(pilot))
            await press(pilot, "enter")
            assert query(pilot) == ""
            row = next(number for number, line in enumerate(lines(pilot)) if line.startswith("□ forward"))
            await pilot.click(offset=(4, row))
            assert query(pilot) == "phase:forward"

    play(test())


def test_a_layer_is_found_by_typing_and_chosen_with_enter(path: Path) -> None:
    async def test() -> None:
        async with open_pane(path, "operators", size=LARGE) as (pilot, _):
            tree = pilot.app.query_one(LayerBrowser)
            await until(pilot, lambda: "fc" in screen(pilot))
            tree.focus()
            await press(pilot, "f", "c")
            assert tree.sought == "fc"
            assert tree.cursor_node is not None
            assert tree.cursor_node.data == "net.fc"
            await press(pilot, "enter")
            assert query(pilot) == "layer:net.fc"
            await press(pilot, "escape")
            assert tree.sought == ""
            await press(pilot, "z", "z")
            assert "(none)" in screen(pilot)
            await press(pilot, "backspace", "backspace")
            assert tree.sought == ""
            await press(pilot, "left", "left", "right")
            assert "▾ net" in screen(pilot)

    play(test())
