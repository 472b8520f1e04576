"""The row of panes with their number keys; a click opens one."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.app import RenderResult
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

_SHORT = 5


class TabBar(Widget):
    """One line. Where the titles do not fit, all but the chosen one are cut."""

    COMPONENT_CLASSES = {"tab-bar--chosen", "tab-bar--number"}  # noqa: RUF012  # as Textual declares it
    DEFAULT_CSS = """
    TabBar { height: 1; background: $surface; color: $text-muted; }
    TabBar > .tab-bar--chosen { background: $primary; color: $background; text-style: bold; }
    TabBar > .tab-bar--number { color: $primary; }
    """

    chosen: reactive[str] = reactive("")

    @dataclass
    class Picked(Message):
        """A tab was clicked."""

        name: str

    def __init__(self, titles: dict[str, str]) -> None:
        """``titles`` by the name of a pane, in their order."""
        super().__init__()
        self.titles = titles

    def _labels(self) -> list[tuple[str, str, str]]:
        """Name, number and title of each tab."""
        whole = [(name, str(number), title) for number, (name, title) in enumerate(self.titles.items(), 1)]
        if sum(len(number) + len(title) + 3 for _, number, title in whole) <= self.size.width:
            return whole
        return [(name, number, title if name == self.chosen else title[:_SHORT]) for name, number, title in whole]

    def render(self) -> RenderResult:
        """The titles."""
        chosen = self.get_component_rich_style("tab-bar--chosen")
        number_style = self.get_component_rich_style("tab-bar--number")
        text = Text(no_wrap=True, overflow="crop")
        for name, number, title in self._labels():
            if name == self.chosen:
                text.append(f" {number} {title} ", chosen)
            else:
                text.append(f" {number}", number_style)
                text.append(f" {title} ")
        return text

    def on_click(self, event: Click) -> None:
        """Say which tab was clicked."""
        x = event.x
        for name, number, title in self._labels():
            width = len(number) + len(title) + 3
            if x < width:
                self.post_message(self.Picked(name))
                return
            x -= width
