"""The line at the top, and what takes the panes' place where the run cannot be shown."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text
from textual.widgets import Static

from deepseek_prof.errors import DeepseekProfError
from deepseek_prof.text import clean
from deepseek_prof.tui.data import RunSession


class Head(Static):
    """Which run this is, and whether it goes on."""

    DEFAULT_CSS = """
    Head { height: 1; background: $primary 20%; padding: 0 1; }
    """

    def __init__(self, path: Path) -> None:
        super().__init__(Text(f"opening {clean(path.name)} …"))

    def show(self, session: RunSession) -> None:
        """The run's name, program and state."""
        info = session.run.info
        name, script = clean(session.name, 60), clean(str(info.get("script") or ""), 30)
        state = "● recording" if session.in_progress else clean(str(info.get("status") or ""), 20)
        code = info.get("exit_code")
        ended = f", exit status {code}" if isinstance(code, int) and code else ""
        told = f"  {script}" if script not in name else ""
        self.update(Text.assemble((name, "bold"), f"{told}  {state}{ended}"))


class Problem(Static):
    """Why the run cannot be shown, and what can be done."""

    DEFAULT_CSS = """
    Problem { display: none; width: 1fr; padding: 2 4; }
    """

    error: DeepseekProfError | None = None
    """What is shown; None while the panes are."""

    def show(self, error: DeepseekProfError) -> None:
        """Take the panes' place."""
        self.error = error
        self.update(
            Text.assemble(
                ("This run cannot be shown.\n\n", "bold"),
                clean(str(error), 2000),
                ("\n\nr reads it again · q quits", "dim"),
            )
        )
        self.screen.add_class("failed")

    def clear(self) -> None:
        """Give the panes their place back."""
        self.error = None
        self.screen.remove_class("failed")
