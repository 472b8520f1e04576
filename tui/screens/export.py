"""Asks what to export, and into which file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from deepseek_prof.text import clean


@dataclass(frozen=True)
class Wanted:
    """A format and a file, which is to be written."""

    format: str
    file: Path


class ExportScreen(ModalScreen[Wanted | None]):
    """A list of formats, then the name of a file. Its result is None where the user went back."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back")]
    DEFAULT_CSS = """
    ExportScreen { align: center middle; }
    ExportScreen > Vertical { width: 76; max-width: 96%; height: auto; background: $surface; border: round $primary; }
    ExportScreen Static { height: auto; padding: 0 1; }
    ExportScreen OptionList { height: auto; max-height: 12; border: none; }
    ExportScreen #problem { color: $error; }
    """

    def __init__(self, formats: Mapping[str, tuple[str, str]], run_name: str, query: str) -> None:
        """``formats`` has what reads each, and the suffix of its files."""
        super().__init__()
        self._formats = dict(formats)
        self._stem = re.sub(r"[^\w.-]+", "-", run_name).strip("-.") or "run"
        self._query = query

    def compose(self) -> ComposeResult:
        """Formats, file, and what is wrong with it."""
        with Vertical():
            what = f"only {clean(self._query, 60)}" if self._query.strip() else "the whole run"
            yield Static(Text.assemble(("Export ", "bold"), what))
            yield OptionList(
                *(
                    Option(Text.assemble((f"{name:<12}", "bold"), clean(summary, 200)), id=name)
                    for name, (summary, _) in self._formats.items()
                )
            )
            yield Input(placeholder="file")
            yield Static("", id="problem")
        yield Footer()

    def on_mount(self) -> None:
        """The first format is offered."""
        formats = self.query_one(OptionList)
        formats.highlighted = 0
        formats.focus()

    @property
    def _format(self) -> str:
        return list(self._formats)[self.query_one(OptionList).highlighted or 0]

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The file is called after the run and the format."""
        event.stop()
        self.query_one(Input).value = f"{self._stem}{self._formats[self._format][1]}"

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go on to the file's name."""
        event.stop()
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Done, unless a file of that name is there: nothing is overwritten from here."""
        event.stop()
        file = Path(event.value).expanduser()
        if not event.value.strip() or file.is_dir():
            self.query_one("#problem", Static).update("Give the name of a file.")
        elif file.exists():
            self.query_one("#problem", Static).update("That file is there already: give another name.")
        else:
            self.dismiss(Wanted(self._format, file.absolute()))

    def action_back(self) -> None:
        """Write nothing."""
        self.dismiss(None)
