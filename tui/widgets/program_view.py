"""The program's output as a terminal shows it, while it is written and after; keys go to the program on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Key, Paste, Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from deepseek_prof.text import size
from deepseek_prof.tui.emulator import Emulator
from deepseek_prof.tui.keys import pasted_bytes, terminal_bytes

_POLL_S = 0.05
_CHUNK_BYTES = 1 << 14
_MOST_BEHIND_BYTES = 1 << 19
"""With more output waiting than this, older output is passed over: it would be out of sight at once."""
END_TYPING_KEYS = ("f2", "ctrl+right_square_bracket")
_CURSOR = Style(reverse=True)


class ProgramView(ScrollView, can_focus=True):
    """A terminal that reads ``output``. ``press`` takes keys, ``resized`` columns and lines; both None: only shown."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("end", "follow", "To the end", show=False)]
    DEFAULT_CSS = """
    ProgramView { height: 1fr; overflow-y: scroll; overflow-x: hidden; scrollbar-size-vertical: 1; }
    """

    typing: reactive[bool] = reactive(False)
    """Whether keys go to the program."""

    class TypingEnded(Message):
        """The user is done typing."""

    def __init__(
        self,
        output: Path,
        press: Callable[[bytes], None] | None = None,
        resized: Callable[[int, int], None] | None = None,
    ) -> None:
        super().__init__()
        self._output = output
        self._press = press
        self._resized = resized
        self._file: BinaryIO | None = None
        self._emulator = Emulator(80, 24, lambda _: None)
        self._offset = 0
        self._answered_from = 0
        self._shape = Size(0, 0)

    @property
    def lines(self) -> list[str]:
        """All lines, without their colours."""
        return ["".join(segment.text for segment in self._emulator.line(y)) for y in range(self._emulator.line_count)]

    def on_mount(self) -> None:
        """Look at the file from now on."""
        self.set_interval(_POLL_S, self._poll)

    def on_unmount(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def on_resize(self, event: Resize) -> None:
        """Tell the program, and show its latest output anew at the new width."""
        shape = self.scrollable_content_region.size
        if shape == self._shape or not shape.area:
            return
        self._shape = shape
        if self._resized is not None:
            self._resized(shape.width, shape.height)
        self._answered_from = max(self._answered_from, self._offset)
        self._emulator = Emulator(shape.width, shape.height, self._answer)
        self._offset = 0
        self._poll()
        self.scroll_end(animate=False)

    def _answer(self, text: str) -> None:
        if self._press is not None and self._offset >= self._answered_from:
            self._press(text.encode())

    def _poll(self) -> None:
        if not self._shape.area or not self.is_on_screen:
            return
        if self._file is None:
            try:
                self._file = self._output.open("rb")
            except FileNotFoundError:
                return  # the program has not started yet
        waiting = self._file.seek(0, 2) - self._offset
        if waiting > _MOST_BEHIND_BYTES:
            self._pass_over(self._file, waiting - _MOST_BEHIND_BYTES // 2)
        self._file.seek(self._offset)
        data = self._file.read(_CHUNK_BYTES)
        if data:
            self._feed(data)

    def _pass_over(self, file: BinaryIO, passed_bytes: int) -> None:
        file.seek(self._offset + passed_bytes)
        file.readline(_CHUNK_BYTES)  # on to the start of a line
        passed_bytes = file.tell() - self._offset
        self._offset = file.tell()
        text = f"[{size(passed_bytes)} not shown here; all of it is in {self._output.name} of the run]"
        self._emulator.tell(text)

    def _feed(self, data: bytes) -> None:
        at_end = self.is_vertical_scroll_end
        away = self._emulator.scrolled_away
        self._emulator.feed(data)
        self._offset += len(data)
        self.virtual_size = Size(self._shape.width, self._emulator.line_count)
        if at_end:
            self.scroll_end(animate=False, immediate=True)
        elif self._emulator.scrolled_away > away:
            self.scroll_to(y=self.scroll_y - (self._emulator.scrolled_away - away), animate=False, immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the terminal."""
        index = self.scroll_offset.y + y
        strip = Strip(self._emulator.line(index)).adjust_cell_length(self.size.width)
        cursor = self._emulator.cursor
        if self.typing and cursor is not None and cursor[1] == index:
            strip = _styled(strip, cursor[0], cursor[0] + 1, _CURSOR)
        selection = self.text_selection
        span = None if selection is None else selection.get_span(index)
        if span is not None:
            start, end = span
            style = self.screen.get_component_rich_style("screen--selection")
            strip = _styled(strip, start, strip.cell_length if end == -1 else end, style)
        return strip.apply_style(self.rich_style).apply_offsets(0, index)

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """The selected text, to be copied."""
        return selection.extract("\n".join(self.lines)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        """Show what is selected."""
        self.refresh()

    def watch_typing(self) -> None:
        """Show or hide the cursor, and go to where it is."""
        if self.typing:
            self.scroll_end(animate=False)
        self.refresh()

    def on_key(self, event: Key) -> None:
        """While typing, every key but those that end it is the program's."""
        if not self.typing or self._press is None:
            return
        event.stop()
        event.prevent_default()
        if event.key in END_TYPING_KEYS:
            self.post_message(self.TypingEnded())
            return
        keys = terminal_bytes(event.key, event.character, application_keys=self._emulator.application_keys)
        if keys:
            self._press(keys)
            self.scroll_end(animate=False)

    def action_follow(self) -> None:
        """Go to the newest output, and stay there."""
        self.scroll_end(animate=False)

    def on_paste(self, event: Paste) -> None:
        """Paste into the program."""
        if self.typing and self._press is not None:
            event.stop()
            self._press(pasted_bytes(event.text, bracketed=self._emulator.bracketed_paste))

    def on_click(self, _event: Click) -> None:
        """Keys come here from now on, as to any other widget."""
        self.focus()


def _styled(strip: Strip, start: int, end: int, style: Style) -> Strip:
    before, chosen, after = (
        strip.crop(0, start),
        strip.crop(start, end),
        strip.crop(end, strip.cell_length),
    )
    return Strip.join([before, Strip(Segment.apply_style(chosen, post_style=style)), after])
