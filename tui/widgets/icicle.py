"""The icicle graph: a tree of sums as boxes below each other, as wide as what they sum, by keyboard and mouse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.events import Click, Leave, MouseMove, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.text import clean, percent
from deepseek_prof.tui.widgets.boxes import box_style, draw_box
from deepseek_prof.tui.widgets.cells import message_line
from deepseek_prof.tui.widgets.icicle_layout import Block, BlockPath, Box, follow, is_above, layout, matches, sibling


class Icicle(ScrollView, can_focus=True):
    """Draws the tree given to :meth:`show`. Posts what the pointer or the cursor is on as :class:`Pointed`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "sibling(-1)", "Left", show=False),
        Binding("right", "sibling(1)", "Right", show=False),
        Binding("up", "parent", "Up", show=False),
        Binding("down", "child", "Down", show=False),
        Binding("enter", "zoom", "Zoom", tooltip="Zoom in"),
        Binding("backspace,minus", "zoom_out", "Out", tooltip="Zoom out"),
        Binding("home", "reset", "Whole graph", show=False),
        Binding("n", "match(1)", "Next match", show=False),
        Binding("N", "match(-1)", "Previous match", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"icicle--cursor", "icicle--hover", "icicle--dimmed"}
    DEFAULT_CSS = """
    Icicle { height: 1fr; overflow-x: hidden; }
    Icicle > .icicle--cursor { background: $foreground; color: $background; text-style: bold; }
    Icicle > .icicle--hover { text-style: underline; }
    Icicle > .icicle--dimmed { background: $panel; color: $text-muted; }
    """

    @dataclass
    class Pointed(Message):
        """``path`` is under the pointer, or else under the cursor."""

        icicle: Icicle
        path: BlockPath

    @dataclass
    class Searched(Message):
        """What :meth:`search` found: ``found`` blocks, which cover ``covered`` of the root's value."""

        icicle: Icicle
        text: str
        found: int
        covered: int

    def __init__(self, colour: Callable[[Frame], Color]) -> None:
        """``colour`` gives the colour of a block's box."""
        super().__init__()
        self._colour = colour
        self._focus: BlockPath = ()
        self._cursor: BlockPath = ()
        self._hover: Box | None = None
        self._rows: list[list[Box]] = []
        self._matches: list[BlockPath] = []
        self._matched: frozenset[Block] | None = None
        self._text = ""
        self._message = ""

    @property
    def cursor(self) -> BlockPath:
        """The path to the block under the cursor; empty before anything is shown."""
        return self._cursor

    @property
    def filling(self) -> BlockPath:
        """The path to the block that fills the graph's width."""
        return self._focus

    def show(self, root: Block) -> None:
        """Draw another tree; cursor, zoom and search stay where the new tree has blocks of the same names."""
        self._focus, self._cursor = (
            follow(root, [each.frame.name for each in path[1:]]) for path in (self._focus, self._cursor)
        )
        self._hover = None
        self._message = ""
        self._find()
        self._arrange()
        self._point()

    def show_message(self, text: str) -> None:
        """Draw no tree, but why there is none."""
        self._message = clean(text, 1000)
        self._focus, self._cursor, self._hover, self._matches, self._matched = (), (), None, [], None
        self._arrange()

    def search(self, text: str) -> None:
        """Dim what does not hold ``text`` and go to the first block that does; an empty text ends the search."""
        self._text = text.strip()
        self._find()
        if self._matches:
            self._move(self._matches[0])
        else:
            self._point()
        self.refresh()

    def _find(self) -> None:
        self._matches, covered, self._matched = [], 0, None
        if self._text and self._focus:
            self._matches, covered = matches(self._focus[0], self._text)
            self._matched = frozenset(path[-1] for path in self._matches)
        self.post_message(self.Searched(self, self._text, len(self._matches), covered))

    def action_sibling(self, step: int) -> None:
        """To the next block of the same parent, those too narrow to be drawn too."""
        self._move(sibling(self._cursor, step))

    def action_parent(self) -> None:
        """To the block above."""
        self._move(self._cursor[:-1] or self._cursor)

    def action_child(self) -> None:
        """To the widest block below."""
        if self._cursor and self._cursor[-1].children:
            self._move((*self._cursor, max(self._cursor[-1].children, key=lambda child: child.value)))

    def action_zoom(self) -> None:
        """Make the block under the cursor as wide as the graph; the zoomed one goes back to its parent."""
        if len(self._cursor) > 1 and self._cursor == self._focus:
            self._zoom(self._focus[:-1])
        else:
            self._zoom(self._cursor)

    def action_zoom_out(self) -> None:
        """Back to the block above the one that fills the width."""
        self._zoom(self._focus[:-1] or self._focus)

    def action_reset(self) -> None:
        """The whole graph, from its root."""
        self._zoom(self._focus[:1])
        self._move(self._focus)

    def action_match(self, step: int) -> None:
        """To the next block that the search found, around the end."""
        if self._matches:
            at = next((i for i, path in enumerate(self._matches) if path == self._cursor), -1 if step > 0 else 0)
            self._move(self._matches[(at + step) % len(self._matches)])

    def _move(self, path: BlockPath) -> None:
        self._cursor = path
        if path and not (is_above(path, self._focus) or is_above(self._focus, path)):
            common = sum(1 for mine, other in zip(path, self._focus, strict=False) if mine is other)
            self._focus = path[:common]
            self._arrange()
        if path:
            self.scroll_to_region(Region(0, len(path) - 1, 1, 1), animate=False)
        self._point()
        self.refresh()

    def _zoom(self, path: BlockPath) -> None:
        self._focus = path
        if not is_above(path, self._cursor):
            self._cursor = path
        self._arrange()
        self._point()

    def _arrange(self) -> None:
        width = self.scrollable_content_region.width
        self._rows = layout(self._focus, width)
        self.virtual_size = Size(width, len(self._rows))
        self.refresh()

    def _point(self) -> None:
        path = self._hover.path if self._hover is not None else self._cursor
        if path:
            self.post_message(self.Pointed(self, path))

    def on_resize(self, event: Resize) -> None:
        """Lay the boxes out for the new width."""
        self._arrange()

    def on_mouse_move(self, event: MouseMove) -> None:
        """Point at the box below the pointer."""
        self._set_hover(self._box_at(event.x, event.y))

    def on_leave(self, event: Leave) -> None:
        """Point at the cursor again."""
        self._set_hover(None)

    def on_click(self, event: Click) -> None:
        """Select a box; zoom into it by a double click."""
        box = self._box_at(event.x, event.y)
        if box is None:
            return
        self._move(box.path)
        if event.chain >= 2:
            self._zoom(box.path)

    def _set_hover(self, box: Box | None) -> None:
        if box != self._hover:
            self._hover = box
            self._point()
            self.refresh()

    def _box_at(self, x: int, y: int) -> Box | None:
        row = y + self.scroll_offset.y
        if not 0 <= row < len(self._rows):
            return None
        return next((box for box in self._rows[row] if box.start <= x < box.end), None)

    def render_line(self, y: int) -> Strip:
        """One row of boxes."""
        width, row = self.size.width, y + self.scroll_offset.y
        blank = self.rich_style
        if row >= len(self._rows):
            return Strip([Segment(message_line(self._message, y, width), blank)])
        segments: list[Segment] = []
        reached = 0
        for box in self._rows[row]:
            if box.start > reached:
                segments.append(Segment(" " * (box.start - reached), blank))
            segments.append(self._draw(box))
            reached = box.end
        return Strip(segments).adjust_cell_length(width, blank)

    def _draw(self, box: Box) -> Segment:
        width = box.end - box.start
        label = clean(box.block.label)
        share = percent(box.block.value / (self._focus[0].value or 1))
        if cell_len(label) + len(share) + 2 <= width:
            label = f"{label} {share}"
        return draw_box(box.block.frame, label, width, self._style(box))

    def _style(self, box: Box) -> Style:
        if box.path == self._cursor:
            return self.get_component_rich_style("icicle--cursor")
        if self._matched is not None and box.block not in self._matched:
            return self.get_component_rich_style("icicle--dimmed")
        style = box_style(self._colour(box.block.frame))
        if box == self._hover:
            style += self.get_component_rich_style("icicle--hover", partial=True)
        return style
