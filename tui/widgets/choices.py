"""One of a few: a line of labels with the chosen one marked; a click chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class Choices(Widget):
    """One line: what is chosen, and the labels. Posts :class:`Picked` when the user takes another."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"choices--chosen", "choices--subject"}
    DEFAULT_CSS = """
    Choices { height: 1; color: $text-muted; }
    Choices > .choices--chosen { color: $primary; text-style: bold reverse; }
    Choices > .choices--subject { color: $foreground; }
    """

    labels: reactive[tuple[str, ...]] = reactive(())
    chosen: reactive[int] = reactive(0)
    note: reactive[str] = reactive("")
    """What stands behind the labels, clean of control characters."""

    @dataclass
    class Picked(Message):
        """The user chose ``label``."""

        choices: Choices
        label: str

    def __init__(self, subject: str, labels: Sequence[str]) -> None:
        """``subject`` stands before ``labels``; none of them holds anything of a program's."""
        super().__init__()
        self.subject = subject
        self.set_reactive(Choices.labels, tuple(labels))

    @property
    def label(self) -> str:
        """The chosen one."""
        return self.labels[self.chosen]

    def next(self, step: int = 1) -> None:
        """Choose the next one, around the end."""
        self._pick((self.chosen + step) % len(self.labels))

    def pick(self, label: str) -> None:
        """Choose a label."""
        self._pick(self.labels.index(label))

    def _pick(self, place: int) -> None:
        if place != self.chosen:
            self.chosen = place
            self.post_message(self.Picked(self, self.label))

    def _places(self) -> Iterator[tuple[int, int, str]]:
        """Number, first cell and text of each label."""
        x = cell_len(self.subject) + 1
        for place, label in enumerate(self.labels):
            yield place, x, f" {label} "
            x += cell_len(label) + 2

    def render(self) -> RenderResult:
        """The line."""
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{self.subject} ", self.get_component_rich_style("choices--subject", partial=True))
        marked = self.get_component_rich_style("choices--chosen", partial=True)
        for place, _, label in self._places():
            text.append(label, marked if place == self.chosen else "")
        if self.note:
            text.append(f"  {self.note}")
        return text

    def on_click(self, event: Click) -> None:
        """Choose what was clicked."""
        for place, x, label in self._places():
            if x <= event.x < x + cell_len(label):
                self._pick(place)
