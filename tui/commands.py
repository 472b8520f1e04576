"""What the command palette offers: every binding of the app by its description, and every pane by its title."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand
from textual.binding import Binding, BindingType

from deepseek_prof.tui.panes import PANES
from deepseek_prof.tui.screens.help import key_label

if TYPE_CHECKING:
    from deepseek_prof.tui.outward import OutwardApp


def commands(app: OutwardApp, bindings: Iterable[BindingType]) -> Iterator[SystemCommand]:
    """The commands of ``bindings``, which are the app's own, then the panes."""
    for binding in bindings:
        if isinstance(binding, Binding) and not binding.key.isdecimal():
            action = partial(app.run_action, binding.action)
            yield SystemCommand(binding.description, f"Key {key_label(binding.key)}", action)
    for number, pane in enumerate(PANES, 1):
        yield SystemCommand(f"Pane {pane.title}", f"Key {number}", partial(app.run_action, f"pane({number})"))
