"""Something to be read and left: an error, or the long form of a notice."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from deepseek_prof.text import clean


class MessageScreen(ModalScreen[None]):
    """A title and a text, which is data."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q", "back", "Back")]
    DEFAULT_CSS = """
    MessageScreen { align: center middle; }
    MessageScreen > Vertical { width: 80%; height: auto; max-height: 80%; background: $surface; border: round $error; }
    MessageScreen VerticalScroll { height: auto; max-height: 100%; padding: 0 1; }
    MessageScreen Static { height: auto; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._heading = title
        self.text = text

    def compose(self) -> ComposeResult:
        """The text in a frame."""
        shown = Text(self._heading, style="bold")
        for line in self.text.splitlines():
            shown.append(f"\n{clean(line, 2000)}", "not bold")
        with Vertical(), VerticalScroll():
            yield Static(shown)
        yield Footer()

    def action_back(self) -> None:
        """Back."""
        self.dismiss(None)
