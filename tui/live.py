"""What only ``run --live`` needs of the app: leaving while the program runs, and news of the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from deepseek_prof.text import clean

if TYPE_CHECKING:
    from deepseek_prof.recording.live_program import LiveProgram

Leaving = Literal["go on", "interrupt"]
_POLL_S = 0.25


class LeaveScreen(ModalScreen[Leaving | None]):
    """Asks what becomes of the program; None: the user stays."""

    DEFAULT_CSS = """
    LeaveScreen { align: center middle; }
    LeaveScreen Vertical { width: 64; max-width: 100%; height: auto; border: round $primary; padding: 0 1;
        background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,enter", "leave('go on')", "Let it run on"),
        Binding("s", "leave('interrupt')", "Stop it"),
        Binding("ctrl+c", "leave('interrupt')", "Stop it", show=False, priority=True),
        Binding("escape,q", "stay", "Stay"),
    ]

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def compose(self) -> ComposeResult:
        """The choices."""
        with Vertical():
            yield Static(
                Text.assemble(
                    (clean(self._program), "bold"),
                    (" still runs.\n\n", ""),
                    (" l", "bold"),
                    ("  leave this view and let it run on; its output goes on in the terminal\n", ""),
                    (" s", "bold"),
                    ("  stop it with an interrupt, as Ctrl-C does (or Ctrl-C once more)\n", ""),
                    (" Esc", "bold"),
                    ("  stay", ""),
                )
            )

    def action_leave(self, how: Leaving) -> None:
        """Leave the view."""
        self.dismiss(how)

    def action_stay(self) -> None:
        """Back to where it was."""
        self.dismiss(None)


class LiveWatch(Widget):
    """Looks at the program beside the panes: tells its end, warnings of the recording, and that we must leave."""

    DEFAULT_CSS = "LiveWatch { display: none; }"

    class Completed(Message):
        """The run is converted to its end."""

    def __init__(self, program: LiveProgram) -> None:
        super().__init__()
        self._program = program
        self._told = 0
        self._ended = False
        self._completed = False

    def on_mount(self) -> None:
        """Look from now on."""
        self.set_interval(_POLL_S, self._look)

    def _look(self) -> None:
        if self._program.must_leave:
            self.app.exit()
        held = self._program.narrator.held
        for line in held[self._told :]:
            severity: Literal["warning", "information"] = "warning" if line.startswith("warning") else "information"
            self.app.notify(clean(line, 400), severity=severity, markup=False)
        self._told = len(held)
        if not self._ended and not self._program.running:
            self._ended = True
            self.app.notify(f"{clean(self._program.name)}: {self._program.ending}", markup=False)
        if not self._completed and self._program.completed:
            self._completed = True
            self.post_message(self.Completed())
