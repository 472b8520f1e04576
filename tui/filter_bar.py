"""The filter bar: the query, what may come next in it, how much it selects, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from deepseek_prof.errors import QueryError
from deepseek_prof.query import Completion, complete
from deepseek_prof.text import clean, count, counted
from deepseek_prof.tui.history import History

DEBOUNCE_S = 0.05
"""Typing on within this time asks for nothing."""
_SHOWN_COMPLETIONS = 8


class QueryInput(Input):
    """The line that is typed into. Keys for completion and history come here first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "accept", "Complete", show=False),
        Binding("down", "list(1)", "Next completion, or newer query", show=False),
        Binding("up", "list(-1)", "Previous completion, or older query", show=False),
        Binding("escape", "leave", "Back to the pane", show=False),
    ]

    def action_accept(self) -> None:
        """Take the completion that is marked."""
        self._bar.accept()

    def action_list(self, by: int) -> None:
        """Move among the completions, or else through the history."""
        self._bar.move(by)

    def action_leave(self) -> None:
        """Close the completions, or else give the focus back to the pane."""
        self._bar.leave()

    @property
    def _bar(self) -> FilterBar:
        return next(each for each in self.ancestors if isinstance(each, FilterBar))


class FilterBar(Vertical):
    """Posts :class:`Queried` for every query that parses, a moment after typing stops, and at once on Enter."""

    DEFAULT_CSS = """
    FilterBar { height: auto; }
    FilterBar Horizontal { height: 1; background: $surface; }
    FilterBar .sign { width: 2; color: $primary; text-style: bold; }
    FilterBar QueryInput { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
    FilterBar QueryInput:focus { background: $panel; border: none; }
    FilterBar .count { width: 30; padding: 0 1; color: $text-muted; text-align: right; }
    FilterBar .problem { display: none; height: auto; max-height: 3; color: $error; padding: 0 2; }
    FilterBar .problem.shown { display: block; }
    FilterBar OptionList {
        display: none; overlay: screen; height: auto; max-height: 10; width: 60; max-width: 100%; margin: 1 0 0 2;
        border: none; padding: 0; background: $panel;
    }
    FilterBar OptionList.shown { display: block; }
    """

    @dataclass
    class Queried(Message):
        """The query of all panes is now this one. ``entered``: by Enter, so that it belongs to the history."""

        query: str
        entered: bool

    @dataclass
    class Left(Message):
        """The user is done with the bar."""

    def __init__(self, check: Callable[[str], object], history: History) -> None:
        """``check`` raises QueryError for a query that does not parse."""
        super().__init__()
        self._check = check
        self._history = history
        self._known: Mapping[str, Iterable[str]] = {}
        self._timer: Timer | None = None
        self._completions: tuple[Completion, ...] = ()
        self._set_by_us: str | None = None

    def compose(self) -> ComposeResult:
        """The line, the error below it, and the list over what is below."""
        with Horizontal():
            yield Label("/", classes="sign")
            yield QueryInput(
                placeholder="filter: type:matmul layer:encoder.* dur>1ms", compact=True, select_on_focus=False
            )
            yield Static("", classes="count")
        yield Static("", classes="problem")
        choices = OptionList()
        choices.can_focus = False
        yield choices

    @property
    def input(self) -> QueryInput:
        """The line."""
        return self.query_one(QueryInput)

    @property
    def problem(self) -> str:
        """The error that is shown; empty for none."""
        return self._problem

    _problem = ""

    def know(self, values: Mapping[str, Iterable[str]]) -> None:
        """The values of this run, for completion."""
        self._known = values

    def set_query(self, query: str) -> None:
        """Show a query that was chosen elsewhere and is applied already."""
        if self.input.value != query:
            self._set_by_us = query
            self.input.value = query
        self.input.cursor_position = len(query)
        self._show_problem("")
        self._close_list()

    def show_count(self, spans: int | None, events: int = 0) -> None:
        """How much is selected; None while that is being counted."""
        if spans is None:
            text = "…"
        else:
            text = counted(spans, "span")
            if events:
                text += f" · {count(events)} event{'s' * (events != 1)}"
        self.query_one(".count", Static).update(Text(text), layout=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Check, offer, and apply after a moment."""
        event.stop()
        if self._set_by_us == event.value:
            self._set_by_us = None
            return
        self._set_by_us = None
        self._offer()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE_S, lambda: self._apply(entered=False))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply at once, and leave."""
        event.stop()
        self._close_list()
        if self._apply(entered=True):
            self.post_message(self.Left())

    def _apply(self, *, entered: bool) -> bool:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        query = self.input.value
        try:
            self._check(query)
        except QueryError as error:
            self._show_problem(error.problem, error.start)
            return False
        self._show_problem("")
        if entered:
            self._history.add(query)
        self.post_message(self.Queried(query, entered))
        return True

    def _show_problem(self, problem: str, start: int = 0) -> None:
        self._problem = problem
        shown = self.query_one(".problem", Static)
        shown.set_class(bool(problem), "shown")
        if problem:
            shown.update(Text(f"column {start + 1}: {clean(problem, 400)}"))

    def _offer(self) -> None:
        found = complete(self.input.value, self.input.cursor_position, self._known)
        self._completions = tuple(each for each in found[:_SHOWN_COMPLETIONS] if self._changes(each))
        choices = self.query_one(OptionList)
        choices.clear_options()
        choices.add_options([Option(_described(each)) for each in self._completions])
        choices.highlighted = 0 if self._completions else None
        choices.set_class(bool(self._completions) and bool(self.input.value), "shown")

    def _changes(self, completion: Completion) -> bool:
        return self.input.value[completion.start : completion.end] != completion.text

    @property
    def _list_open(self) -> bool:
        return self.query_one(OptionList).has_class("shown")

    def _close_list(self) -> None:
        self.query_one(OptionList).remove_class("shown")

    def accept(self) -> None:
        """Put the marked completion into the line."""
        choices = self.query_one(OptionList)
        if not self._completions:
            self._offer()
            choices.set_class(bool(self._completions), "shown")
            return
        chosen = self._completions[choices.highlighted or 0]
        line = self.input
        line.value = line.value[: chosen.start] + chosen.text + line.value[chosen.end :]
        line.cursor_position = chosen.start + len(chosen.text)

    def move(self, by: int) -> None:
        """Mark another completion, or show another query of the history."""
        choices = self.query_one(OptionList)
        if self._list_open:
            choices.highlighted = ((choices.highlighted or 0) + by) % max(1, len(self._completions))
            return
        earlier = self._history.move(-by, self.input.value)
        if earlier is not None:
            self.input.value = earlier
            self.input.cursor_position = len(earlier)
            self.call_after_refresh(self._close_list)

    def leave(self) -> None:
        """Close the list, or else say that the user is done."""
        if self._list_open:
            self._close_list()
        else:
            self.post_message(self.Left())

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click on a completion."""
        event.stop()
        self.query_one(OptionList).highlighted = event.option_index
        self.accept()
        self.input.focus()


def _described(completion: Completion) -> Text:
    text = Text(clean(completion.text, 50), no_wrap=True, overflow="ellipsis")
    return text.append(f"  {completion.meaning}", "dim") if completion.meaning else text
