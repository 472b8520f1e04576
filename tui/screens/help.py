"""All keys, made from the bindings of what is on the screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Footer, Static

_NAMES = {
    "slash": "/", "question_mark": "?", "plus": "+", "minus": "-", "left": "←", "right": "→", "up": "↑", "down": "↓",
    "pageup": "PgUp", "pagedown": "PgDn", "enter": "Enter", "escape": "Esc", "space": "Space", "tab": "Tab",
    "home": "Home", "end": "End", "backspace": "Backspace", "left_square_bracket": "[", "right_square_bracket": "]",
}  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """The bindings of one class: the keys as they are printed on a keyboard, and what they do."""

    title: str
    rows: tuple[tuple[str, str], ...]


def key_label(keys: str) -> str:
    """``up,k`` as ``↑ k``."""
    return " ".join(
        _NAMES.get(key, key.replace("ctrl+", "Ctrl-").replace("shift+", "Shift-")) for key in keys.split(",")
    )


def keys_of(kind: type[DOMNode], title: str) -> Keys:
    """The bindings that a class declares itself, in their order; those of number keys as one row.

    Where the footer has room for a word only, the binding's tooltip says what it does.
    """
    rows: list[tuple[str, str]] = []
    for binding in _declared(kind):
        if binding.key.isdecimal():
            if ("1 … 9", "Pane of that number") not in rows:
                rows.append(("1 … 9", "Pane of that number"))
            continue
        rows.append((key_label(binding.key), binding.tooltip or binding.description))
    return Keys(title, tuple(rows))


def _declared(kind: type[DOMNode]) -> Iterator[Binding]:
    for each in kind.__dict__.get("BINDINGS", ()):
        if isinstance(each, Binding):
            yield each


def sections(pane: Widget | None) -> list[Keys]:
    """The keys that are of use where ``pane`` is seen: those of the app, of the pane, and of what it is made of."""
    from deepseek_prof.tui.app import ProfilerApp
    from deepseek_prof.tui.facet_panel import FacetPanel
    from deepseek_prof.tui.filter_bar import QueryInput
    from deepseek_prof.tui.layer_browser import LayerBrowser
    from deepseek_prof.tui.outward import OutwardApp

    own = Keys("Everywhere", keys_of(ProfilerApp, "").rows + keys_of(OutwardApp, "").rows)
    kinds: dict[type[DOMNode], None] = {}
    if pane is not None:
        kinds |= {type(each): None for each in (pane, *pane.query("*")) if _is_ours(type(each))}
    kinds |= dict.fromkeys((QueryInput, FacetPanel, LayerBrowser))
    return [own, *(keys_of(kind, heading_of(kind)) for kind in kinds)]


def _is_ours(kind: type[DOMNode]) -> bool:
    return kind.__module__.startswith("deepseek_prof.tui.")


def heading_of(kind: type[DOMNode]) -> str:
    """The name of a class as a heading: ``PagedTable`` as ``Paged table``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).capitalize()


class HelpScreen(ModalScreen[None]):
    """Keys by what they belong to."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "back", "Back")]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Vertical { width: 76; max-width: 96%; height: 90%; background: $surface; border: round $primary; }
    HelpScreen VerticalScroll { padding: 0 1; height: 1fr; }
    HelpScreen Static { height: auto; }
    """

    def __init__(self, sections: Iterable[Keys]) -> None:
        super().__init__()
        self.sections = tuple(each for each in sections if each.rows)

    def compose(self) -> ComposeResult:
        """One section below the other."""
        text = Text("Everything can be done by keyboard or by mouse. Ctrl-P finds every command.\n")
        for section in self.sections:
            text.append(f"\n{section.title}\n", "bold underline")
            for keys, meaning in section.rows:
                text.append(f"  {keys:<22}", "bold")
                text.append(f"{meaning}\n")
        text.append("\nThe filter\n", "bold underline")
        text.append(
            "  type:matmul,conv   layer:encoder.*   phase:backward   dur>1ms   step:10..20\n"
            "  -op:*copy*   (rank:0 or rank:3)   a word finds operators, layers, messages\n"
        )
        with Vertical(), VerticalScroll():
            yield Static(text)
        yield Footer()

    def action_back(self) -> None:
        """Back."""
        self.dismiss(None)
