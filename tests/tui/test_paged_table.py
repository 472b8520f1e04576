"""A table of a million rows: only what is seen is asked for; columns make room; keys and mouse move the cursor."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from textual.app import App, ComposeResult

from deepseek_prof.tui.widgets.paged_table import PAGE_ROWS, Column, PagedTable, Row
from tests.support.pilot import lines, play, press, until

COLUMNS = (
    Column("name", align="left", key="name", min_width=20),
    Column("first", 10, drop=1, key="first"),
    Column("second", 10, drop=2, key="second"),
)
MILLION = 1_000_000


class Tables(App[None]):
    """One table, and what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, object]] = []
        self.asked: list[tuple[int, int]] = []

    def compose(self) -> ComposeResult:
        yield PagedTable(COLUMNS, empty="Nothing here.")

    @property
    def table(self) -> PagedTable:
        return self.query_one(PagedTable)

    async def fetch(self, first: int, count: int) -> Sequence[Row]:
        self.asked.append((first, count))
        return [(f"row {number}", str(number), "x") for number in range(first, min(first + count, MILLION))]

    def on_paged_table_highlighted(self, event: PagedTable.Highlighted) -> None:
        self.said.append(("highlighted", event.row))

    def on_paged_table_chosen(self, event: PagedTable.Chosen) -> None:
        self.said.append(("chosen", event.row))

    def on_paged_table_header_clicked(self, event: PagedTable.HeaderClicked) -> None:
        self.said.append(("header", event.key))


def test_a_million_rows_are_asked_for_page_by_page() -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(60, 20)) as pilot:
            app.table.focus()
            app.table.show_pages(MILLION, app.fetch)
            await until(pilot, lambda: "row 0" in lines(pilot)[1])
            await press(pilot, "end")
            await until(pilot, lambda: "row 999999" in lines(pilot)[-1])
            assert app.table.cursor == MILLION - 1
            app.table.move_cursor(500_000)
            await until(pilot, lambda: any("row 500000" in line for line in lines(pilot)))
            assert sum(count for _, count in app.asked) <= 8 * PAGE_ROWS
            await press(pilot, "home")
            await until(pilot, lambda: "row 0" in lines(pilot)[1])

    play(test())


def test_pages_of_an_earlier_source_are_not_shown() -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(60, 20)) as pilot:
            app.table.show_pages(MILLION, app.fetch)
            app.table.show_rows([("other", "1", "2")])
            await pilot.pause()
            assert "other" in lines(pilot)[1]
            assert not any("row" in line for line in lines(pilot))

    play(test())


def test_keys_move_the_cursor_within_the_rows() -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(60, 12)) as pilot:
            app.table.focus()
            app.table.show_rows([(f"row {number}", "", "") for number in range(30)])
            for key, expected in [("down", 1), ("j", 2), ("k", 1), ("up", 0), ("up", 0), ("pagedown", 10), ("G", 29),
                                  ("down", 29), ("pageup", 19), ("g", 0), ("space", 10)]:  # fmt: skip
                await press(pilot, key)
                assert app.table.cursor == expected, key
            await press(pilot, "enter")
            assert app.said[-1] == ("chosen", 10)

    play(test())


def test_a_click_moves_and_a_second_one_chooses() -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(60, 12)) as pilot:
            app.table.show_rows([(f"row {number}", "", "") for number in range(5)])
            await pilot.pause()
            await pilot.click(PagedTable, offset=(3, 4))
            assert app.said == [("highlighted", 3)]
            await pilot.click(PagedTable, offset=(3, 4))
            assert app.said[-1] == ("chosen", 3)
            await pilot.click(PagedTable, offset=(3, 9))
            assert app.said[-1] == ("chosen", 3)

    play(test())


def test_a_click_on_a_label_asks_to_sort() -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(60, 12)) as pilot:
            app.table.show_rows([("row", "", "")])
            await pilot.pause()
            header = lines(pilot)[0]
            await pilot.click(PagedTable, offset=(header.index("second"), 0))
            await pilot.click(PagedTable, offset=(header.index("name"), 0))
            assert app.said == [("header", "second"), ("header", "name")]

    play(test())


@pytest.mark.parametrize(
    ("width", "shown"), [(60, ["name", "first", "second"]), (40, ["name", "first"]), (25, ["name"])]
)
def test_columns_go_where_names_would_have_no_room(width: int, shown: list[str]) -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(width, 12)) as pilot:
            app.table.show_rows([("a name that is rather long for a table", "1", "2")])
            await pilot.pause()
            assert lines(pilot)[0].split() == shown

    play(test())


def test_an_empty_table_says_so() -> None:
    async def test() -> None:
        app = Tables()
        async with app.run_test(size=(60, 12)) as pilot:
            app.table.focus()
            app.table.show_rows([])
            await press(pilot, "down", "enter", "end")
            assert any("Nothing here." in line for line in lines(pilot))
            assert app.said == []

    play(test())
