"""Output: what the program writes to its terminal, and the way to type to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from deepseek_prof.text import clean
from deepseek_prof.tui.data import Selection
from deepseek_prof.tui.pane import Pane

if TYPE_CHECKING:
    from deepseek_prof.tui.widgets.program_view import ProgramView

_STATE_S = 0.25
_NO_OUTPUT = (
    "The output of this run went to its own terminal. "
    "With deepseek-prof run --live it is shown here, and kept in the run."
)


class Output(Pane[None]):
    """The program's terminal. It obeys no filter: output carries no layer and no operator."""

    name_of = "output"
    title = "Output"
    DEFAULT_CSS = """
    Output .state { height: 1; padding: 0 1; color: $text-muted; background: $surface; }
    Output .state.typing { color: $background; background: $warning; text-style: bold; }
    Output .none { padding: 1 2; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i,enter", "type", "Type to the program", key_display="i"),
    ]

    _drawn_state = ""

    def compose(self) -> ComposeResult:
        """What state the program is in, and its terminal."""
        from deepseek_prof.tui.widgets.program_view import ProgramView  # with the emulator: only where it is looked at

        program = self.session.program
        if program is not None:
            yield Static(classes="state")
            yield ProgramView(program.output, program.terminal.press, program.terminal.resize)
        elif self._output.exists():
            yield Static(classes="state")
            yield ProgramView(self._output)
        else:
            yield Static(_NO_OUTPUT, classes="none", markup=False)

    @property
    def _output(self) -> Path:
        from deepseek_prof.recording.program_terminal import OUTPUT_NAME

        return self.session.path / OUTPUT_NAME

    @property
    def view(self) -> ProgramView | None:
        """The terminal; None where the run has none."""
        from deepseek_prof.tui.widgets.program_view import ProgramView

        return next(iter(self.query(ProgramView)), None)

    @property
    def typing(self) -> bool:
        """Whether keys go to the program."""
        return self.is_mounted and self.view is not None and self.view.typing

    def on_mount(self) -> None:
        """Keep the line of state true."""
        self.set_interval(_STATE_S, self._draw_state)
        self._draw_state()

    def show(self, selection: Selection) -> None:
        """Nothing to read from the run: the terminal follows its file."""
        self.selection = self.drawn = selection
        self.post_message(self.Drawn(self, selection))

    def command(self, selection: Selection) -> tuple[str, ...]:
        """No command shows it."""
        return ("report",)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Who cannot type is not offered to."""
        return action != "type" or (self._can_type and not self.typing)

    @property
    def _can_type(self) -> bool:
        return self.session.program is not None and self.session.program.running

    def action_type(self) -> None:
        """Give the keys to the program."""
        view = self.view
        if view is not None and self._can_type:
            view.focus()
            view.typing = True
            self._draw_state()

    def on_program_view_typing_ended(self) -> None:
        """Keys are ours again."""
        if self.view is not None:
            self.view.typing = False
            self._draw_state()

    def _draw_state(self) -> None:
        view = self.view
        if view is None:
            return
        if view.typing and not (self._can_type and self.app.focused in (view, None)):
            view.typing = False
        text = self._state(view)
        if text == self._drawn_state:
            return
        self._drawn_state = text
        state = self.query_one(".state", Static)
        state.set_class(view.typing, "typing")
        state.update(Text(text, no_wrap=True, overflow="ellipsis"))
        self.refresh_bindings()

    def _state(self, view: ProgramView) -> str:
        program = self.session.program
        if program is None:
            return (
                "recorded output" if not self.session.in_progress else "output, as it is recorded in another terminal"
            )
        name = clean(program.name)
        lost = program.terminal.lost_bytes
        if lost:
            return f"{name}: the disk takes no more output; {lost:,} bytes are lost"
        if not program.running:
            return f"{name}: {program.ending}"
        if view.typing:
            return f"keys go to {name} · F2 or Ctrl-] takes them back"
        return f"{name} runs · i types to it"
