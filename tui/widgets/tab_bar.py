"""The row of panes with their number keys; a click opens one."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text
from textual.app import RenderResult
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class TabBar(Widget):
    """One line. Where the titles do not fit, all but the chosen one are short words; where these do not, numbers."""

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

    def __init__(self, titles: dict[str, tuple[str, str]]) -> None:
        """Title, and a shorter word where there is little room, by the name of a pane, in their order."""
        super().__init__()
        self.titles = titles

    def _labels(self) -> list[tuple[str, str, str]]:
        """Name, number and text of each tab; the text of a whole title has a space around it."""
        whole = {name: f" {title} " for name, (title, _) in self.titles.items()}
        short = {name: f" {word}" for name, (_, word) in self.titles.items()}
        found: list[tuple[str, str, str]] = []
        for texts in (whole, short, dict.fromkeys(self.titles, "")):
            found = [
                (name, f" {number}", whole[name] if name == self.chosen else text)
                for number, (name, text) in enumerate(texts.items(), 1)
            ]
            if sum(len(number) + len(text) for _, number, text in found) <= self.size.width:
                break
        return found

    def render(self) -> RenderResult:
        """The titles."""
        chosen = self.get_component_rich_style("tab-bar--chosen")
        number_style = self.get_component_rich_style("tab-bar--number")
        line = Text(no_wrap=True, overflow="crop")
        for name, number, text in self._labels():
            if name == self.chosen:
                line.append(number + text, chosen)
            else:
                line.append(number, number_style)
                line.append(text)
        return line

    def on_click(self, event: Click) -> None:
        """Say which tab was clicked."""
        x = event.x
        for name, number, text in self._labels():
            width = len(number) + len(text)
            if x < width:
                self.post_message(self.Picked(name))
                return
            x -= width
