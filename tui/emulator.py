"""What a terminal would show for a program's output: colours, carriage returns, moves of the cursor, and scrollback.

pyte keeps the screen. It is given only the sequences that it understands, in the form that it expects; the others, of
which a program may write any, are taken out before.

Source: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from unicodedata import category

import pyte
from pyte import modes
from pyte.screens import Char
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

SCROLLBACK_LINES = 5000

# The last alternative: an escape that was begun in vain, controls, and the marks that turn the direction of writing.
_SEQUENCE = re.compile(
    r"\x1b\[(?P<marker>[<=>?]?)(?P<numbers>[0-9:;]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)"  # strings: titles, links, device control
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b(?P<single>[0-OQ-WYZ\\`-~])"
    r"|[\x00-\x06\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]P_^X][^\x07\x1b]*\x1b?|[ -/]*)?\Z")
_LONGEST_UNFINISHED = 4096
_SINGLES = frozenset("78DEHMc")
_NUMBERS_OF = {
    **dict.fromkeys("@ABCDEFGLMPXadegKJcn", 1),
    **dict.fromkeys("Hfr", 2),
    **dict.fromkeys("hlm", 64),
}
"""The sequences that are kept, with how many numbers each takes."""
_ERASED = dict.fromkeys("JK", ("", "0", "1", "2"))
"""What may be erased: not the scrollback."""
_ALTERNATE = frozenset((47, 1047, 1049))
_PRIVATE_MODES = frozenset((1, 7, 25, 2004)) | _ALTERNATE
_PLAIN_MODES = frozenset((4, 20))
_CURSOR_KEYS, _BRACKETED_PASTE = 1 << 5, 2004 << 5  # as pyte numbers private modes
_COLOURS = {"brown": "yellow", "bfightmagenta": "bright_magenta", "default": None}
"""Where pyte's name of a colour is not rich's."""


class Emulator:
    """A terminal of ``columns`` by ``lines`` cells. ``answer`` gets what it replies to the program's questions."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], None]) -> None:
        self._screen = _Screen(max(2, columns), max(1, lines), answer)
        self._stream = pyte.Stream(self._screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unfinished = ""

    def feed(self, data: bytes) -> None:
        """Show more output; sequences and characters may be cut anywhere."""
        text = self._unfinished + self._decoder.decode(data)
        tail = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_UNFINISHED))
        self._unfinished = "" if tail is None else tail[0]
        self._stream.feed(_SEQUENCE.sub(_understood, text[: len(text) - len(self._unfinished)]))

    def tell(self, text: str) -> None:
        """Put in a line of our own; what the program had begun to write is dropped."""
        self._unfinished = ""
        self._decoder.reset()
        self._stream.feed(f"\x1b[0m\r\n{text}\r\n")

    @property
    def line_count(self) -> int:
        """Lines of the scrollback and of the screen, without the empty ones at its end."""
        used = max((y for y, line in self._screen.buffer.items() if line), default=-1)
        return len(self._screen.scrolled) + max(used, self._screen.cursor.y) + 1

    def line(self, index: int) -> list[Segment]:
        """A line, the oldest is 0; empty outside."""
        scrolled = self._screen.scrolled
        if index < len(scrolled):
            return scrolled[index] if index >= 0 else []
        buffer, y = self._screen.buffer, index - len(scrolled)
        return _segments(buffer[y]) if y in buffer else []

    @property
    def scrolled_away(self) -> int:
        """How many lines have left the scrollback at its old end, so far."""
        return self._screen.scrolled_away

    @property
    def cursor(self) -> tuple[int, int] | None:
        """Column and line of the cursor; None where the program hides it."""
        cursor = self._screen.cursor
        return (
            None if cursor.hidden else (min(cursor.x, self._screen.columns - 1), len(self._screen.scrolled) + cursor.y)
        )

    @property
    def application_keys(self) -> bool:
        """Whether the program wants cursor keys in their second form."""
        return _CURSOR_KEYS in self._screen.mode

    @property
    def bracketed_paste(self) -> bool:
        """Whether the program wants to know what is pasted."""
        return _BRACKETED_PASTE in self._screen.mode


class _Screen(pyte.Screen):
    """Keeps lines that scroll off, has an alternate screen, and takes every character at rich's width."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], None]) -> None:
        self.scrolled: deque[list[Segment]] = deque(maxlen=SCROLLBACK_LINES)
        self.scrolled_away = 0
        self._answer = answer
        self._main: tuple[Any, Any] | None = None
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        """Answer the program."""
        self._answer(data)

    def index(self) -> None:
        """Move down, and keep the line that leaves the top."""
        if self.margins is None and self._main is None and self.cursor.y == self.lines - 1:
            self.scrolled_away += len(self.scrolled) == SCROLLBACK_LINES
            self.scrolled.append(_segments(self.buffer[0]))
        super().index()

    def draw(self, data: str) -> None:
        """Put characters at the cursor. What has no width of its own joins the character before it."""
        for char in data:
            width = 1 if " " <= char <= "~" else _width(char)
            if width == 0:
                self._join(char)
                continue
            cursor = self.cursor
            if cursor.x + width > self.columns:
                if modes.DECAWM in self.mode:
                    self.carriage_return()
                    self.linefeed()
                else:
                    cursor.x = self.columns - width
            if modes.IRM in self.mode:
                self.insert_characters(width)
            line = self.buffer[cursor.y]
            line[cursor.x] = Char(char, *cursor.attrs[1:])
            if width == 2:
                line[cursor.x + 1] = Char("", *cursor.attrs[1:])
            cursor.x += width

    def _join(self, char: str) -> None:
        if not category(char).startswith("M") or "\ufe00" <= char <= "\ufe0f":
            return  # joiners and selectors change widths, each terminal in its own way
        line = self.buffer[self.cursor.y]
        x = self.cursor.x - 1
        while x > 0 and not line[x].data:
            x -= 1
        if x >= 0 and len(line[x].data) < _MOST_JOINED:
            line[x] = line[x]._replace(data=line[x].data + char)

    def set_mode(self, *numbers: int, **kind: Any) -> None:
        """Turn modes on, the alternate screen too."""
        if kind.get("private") and _ALTERNATE.intersection(numbers) and self._main is None:
            self._main = dict(self.buffer), self.cursor
            self.buffer.clear()
            self.cursor = pyte.screens.Cursor(self.cursor.x, self.cursor.y, self.cursor.attrs)
        super().set_mode(*numbers, **kind)

    def reset_mode(self, *numbers: int, **kind: Any) -> None:
        """Turn modes off."""
        if kind.get("private") and _ALTERNATE.intersection(numbers):
            self._leave_alternate()
        super().reset_mode(*numbers, **kind)

    def reset(self) -> None:
        """As when it was turned on; the scrollback stays."""
        self._main = None
        super().reset()

    def _leave_alternate(self) -> None:
        if self._main is not None:
            self.buffer.clear()
            self.buffer.update(self._main[0])
            self.cursor = self._main[1]
            self._main = None


_MOST_JOINED = 16
"""Characters in one cell: more are no writing, and would grow without end."""


@lru_cache(maxsize=4096)
def _width(char: str) -> int:
    return min(2, cell_len(char))


def _understood(match: re.Match[str]) -> str:
    """A sequence as pyte is to see it; empty for one that it would misread."""
    single, final = match["single"], match["final"]
    if single is not None:
        return match[0] if single in _SINGLES else ""
    if final not in _NUMBERS_OF or match["between"] or match["marker"] not in ("", "?"):
        return ""
    private = match["marker"] == "?"
    if private and final not in "hl":
        return ""
    numbers = [each[:5] for text in match["numbers"].split(";") for each in _flat(text)][: _NUMBERS_OF[final]]
    if final in _ERASED and numbers[0] not in _ERASED[final]:
        return ""
    if final in "hl":
        known = _PRIVATE_MODES if private else _PLAIN_MODES
        numbers = [text for text in numbers if text and int(text) in known]
        if not numbers:
            return ""
    return f"\x1b[{match['marker']}{';'.join(numbers)}{final}"


def _flat(number: str) -> list[str]:
    """A number with its parts (``38:2::9:9:9``, ``4:3``) as the older form says it."""
    parts = number.split(":")
    if parts[:2] in (["38", "2"], ["48", "2"]):
        return [*parts[:2], *parts[-3:]]
    if parts[0] in ("38", "48"):
        return parts
    return ["24"] if parts == ["4", "0"] else parts[:1]


@lru_cache(maxsize=1024)
def _style(look: tuple[Any, ...]) -> Style:
    fg, bg, bold, italic, underline, strike, reverse, blink = look
    return Style(
        color=_colour(fg),
        bgcolor=_colour(bg),
        bold=bold or None,
        italic=italic or None,
        underline=underline or None,
        strike=strike or None,
        reverse=reverse or None,
        blink=blink or None,
    )


def _colour(name: str) -> str | None:
    if name in _COLOURS:
        return _COLOURS[name]
    if name.startswith("bright"):
        return f"bright_{_COLOURS.get(name[6:], name[6:])}"
    return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name


def _segments(line: Any) -> list[Segment]:
    """A line of pyte's buffer as runs of one style, without plain blanks at its end."""
    found: list[Segment] = []
    text, look = "", None
    for x in range(max(line, default=-1) + 1):
        char = line[x]
        if char[1:] != look:
            if text:
                found.append(Segment(text, _style(look)))
            text, look = "", char[1:]
        text += char.data
    if text and look is not None:
        found.append(Segment(text, _style(look)))
    while found and not (found[-1].style or Style()).bgcolor and not found[-1].text.strip(" "):
        found.pop()
    if found and not (found[-1].style or Style()).bgcolor:
        found[-1] = Segment(found[-1].text.rstrip(" "), found[-1].style)
    return found
