"""Building blocks of printed output: tables of figures that fit the width, and bars."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from deepseek_prof.text import shortened_apart

_MIN_NAME_WIDTH = 26
_GAP = 2  # one of padding, one of the box


class OutputConsole(Console):
    """Standard output: a plain pipe, or a terminal with its colours."""

    def __init__(self) -> None:
        super().__init__(highlight=False)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line: rich would end the process with status 1."""
        raise BrokenPipeError


def figures_table(
    name_header: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    drop: Sequence[str] = (),
    name_width: int = _MIN_NAME_WIDTH,
) -> Table:
    """A table of a name column and right-aligned figures that fits ``width``.

    Where names would get less than ``name_width``, the columns of ``drop`` go, in that order; names are then shortened
    in the middle. Names are shown as data: nothing in them is markup.
    """
    kept = list(range(len(headers)))
    widths = [max(len(header), *(len(row[index + 1]) for row in rows), 1) for index, header in enumerate(headers)]
    for candidate in drop:
        if width - sum(widths[index] + _GAP for index in kept) >= name_width:
            break
        kept = [index for index in kept if headers[index] != candidate]
    room = max(8, width - sum(widths[index] + _GAP for index in kept) - _GAP)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), header_style="dim")
    table.add_column(name_header, no_wrap=True)
    for index in kept:
        table.add_column(headers[index], justify="left" if headers[index] == "type" else "right", no_wrap=True)
    names = shortened_apart([row[0] for row in rows], room)
    for name, row in zip(names, rows, strict=True):
        cells = [Text(name), *(Text(row[index + 1]) for index in kept)]
        table.add_row(*cells)
    return table


def bar(share: float, width: int) -> str:
    """A bar of at most ``width`` eighths-exact cells; something is always shown for more than nothing."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("" if rest == 0 else " ▏▎▍▌▋▊▉"[rest])


def emit(console: Console, renderable: RenderableType, indent: int = 0) -> None:
    """Print without the blanks with which rich fills lines up: they trouble who pipes or copies the output."""
    options = console.options.update(width=max(10, console.width - indent))
    for line in console.render_lines(renderable, options, pad=False):
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            text, style, control = line[-1]
            line[-1] = Segment(text.rstrip(), style, control)
        margin = [Segment(" " * indent)] if indent and line else []
        console.print(Segments([*margin, *line, Segment.line()]), end="", soft_wrap=True)


def heading(console: Console, title: str, note: str = "") -> None:
    """A blank line and a section's title."""
    console.print()
    emit(console, Text.assemble((title, "bold"), (f"  {note}" if note else "", "dim")))
