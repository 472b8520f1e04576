"""The row of tabs: as much of the titles as there is room for, never a part of one."""

from __future__ import annotations

import pytest
from rich.text import Text
from textual.app import App, ComposeResult

from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.widgets.tab_bar import TabBar
from tests.support.pilot import play

TITLES = {pane.name_of: (pane.title, pane.short_title or pane.title) for pane in PANES}


class Bar(App[None]):
    """The row alone."""

    def compose(self) -> ComposeResult:
        """All panes."""
        yield TabBar(TITLES)


@pytest.mark.parametrize(("columns", "which"), [(160, 0), (80, 1), (60, None)])
def test_all_tabs_are_seen_whichever_is_chosen(columns: int, which: int | None) -> None:
    async def test() -> None:
        app = Bar()
        async with app.run_test(size=(columns, 3)):
            bar = app.query_one(TabBar)
            for chosen in TITLES:
                bar.chosen = chosen
                line = bar.render()
                assert isinstance(line, Text)
                assert len(line.plain) <= columns
                words = line.plain.split()
                for number, (name, titles) in enumerate(TITLES.items(), 1):
                    assert str(number) in words
                    if name == chosen:
                        assert titles[0] in words
                    elif which is not None:
                        assert titles[which] in words

    play(test())
