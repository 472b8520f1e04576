"""Layers: the modules as a tree table, forward, backward and memory beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from deepseek_prof.analysis.layer_tree import LayerNode, layer_tree
from deepseek_prof.text import clean, count, duration, percent, size
from deepseek_prof.trace.run import Run
from deepseek_prof.tui.data import RunSession, Selection
from deepseek_prof.tui.layer_browser import subtree_globs
from deepseek_prof.tui.query_edit import with_globs
from deepseek_prof.tui.sorted_pane import SortedPane
from deepseek_prof.tui.widgets.paged_table import Column, PagedTable, Row

_COLUMNS = (
    Column("layer", align="left", key="name", min_width=22),
    Column("total", 9, key="total"),
    Column("share", 7),
    Column("forward", 9, drop=1, key="forward"),
    Column("backward", 9, drop=1, key="backward"),
    Column("self", 9, drop=2, key="self"),
    Column("calls", 9, drop=4, key="calls"),
)
_DEVICE = Column("device", 9, drop=3, key="device")
_MEMORY = Column("memory", 9, drop=3, key="memory")
_KEYS: dict[str, Callable[[LayerNode], int]] = {
    "name": lambda node: 0,  # as the tree has them
    "total": lambda node: -node.total_ns,
    "forward": lambda node: -node.forward_ns,
    "backward": lambda node: -node.backward_ns,
    "self": lambda node: -node.self_ns,
    "calls": lambda node: -node.count,
    "device": lambda node: -node.device_ns,
    "memory": lambda node: -node.size_bytes,
}


class Layers(SortedPane[tuple[LayerNode, ...]]):
    """The tree of layers; at first two levels are open, and what takes longest stands first."""

    name_of = "layers"
    title = "Layers"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l", "expand(True)", "Expand", show=False),
        Binding("left,h", "expand(False)", "Collapse, or to the layer around", show=False),
        Binding("plus", "expand_all(True)", "Expand all", show=False, key_display="+"),
        Binding("minus", "expand_all(False)", "Collapse all", show=False, key_display="-"),
        Binding("s", "sort", "Sort"),
    ]

    def __init__(self, session: RunSession) -> None:
        super().__init__(session, "total")
        self._layers: tuple[LayerNode, ...] = ()
        self._shown: list[LayerNode] = []
        self._open: set[str] | None = None

    def compose(self) -> ComposeResult:
        """The table."""
        yield PagedTable(_COLUMNS)

    def read(self, run: Run, selection: Selection) -> tuple[LayerNode, ...]:
        """All layers."""
        return layer_tree(run, selection.condition)

    def draw(self, found: tuple[LayerNode, ...], selection: Selection) -> None:
        """Open as before."""
        self._layers = found
        if self._open is None:
            self._open = {node.name for node in found if node.depth < 1}
        extra = [
            *([_DEVICE] if any(node.device_ns for node in found) else []),
            *([_MEMORY] if any(node.size_bytes for node in found) else []),
        ]
        self.table.columns = (*_COLUMNS, *extra)
        self.table.empty = self.nothing(selection, "This run has no layers: no nn.Module was called.")
        self.fill()

    def command(self, selection: Selection) -> tuple[str, ...]:
        """``top --by layer``."""
        return ("top", "--by", "layer", "--sort", "total")

    def fill(self, keep: str | None = None) -> None:
        """The layers that are not folded away; the cursor goes to ``keep``, or stays on its row."""
        self._shown = list(self._visible())
        names = [node.name for node in self._shown]
        cursor = names.index(keep) if keep in names else None
        self.show_sorted([self._cells(node) for node in self._shown], cursor=cursor)

    def _visible(self) -> Iterator[LayerNode]:
        children: dict[str | None, list[LayerNode]] = {}
        for node in self._layers:
            children.setdefault(node.parent, []).append(node)
        waiting = sorted(children.get(None, []), key=_KEYS[self.sort])[::-1]
        while waiting:
            node = waiting.pop()
            yield node
            if node.name in (self._open or ()):
                waiting.extend(sorted(children.get(node.name, []), key=_KEYS[self.sort])[::-1])

    def _cells(self, node: LayerNode) -> Row:
        prefix = f"{node.parent}." if node.parent else ""
        label = node.name[len(prefix) :] if prefix and node.name.startswith(prefix) else node.name
        mark = "  " if node.leaf else ("▾ " if node.name in (self._open or ()) else "▸ ")
        cells = [
            f"{'  ' * node.depth}{mark}{clean(label)}",
            duration(node.total_ns),
            percent(node.share),
            duration(node.forward_ns),
            duration(node.backward_ns),
            duration(node.self_ns),
            count(node.count),
        ]
        extra = {"device": duration(node.device_ns), "memory": size(node.size_bytes)}
        return [*cells, *(extra[column.key] for column in self.table.columns[len(cells) :])]

    def _current(self) -> LayerNode | None:
        cursor = self.table.cursor
        return self._shown[cursor] if cursor < len(self._shown) else None

    def action_expand(self, wanted: bool) -> None:
        """Open or shut the layer under the cursor; left on a shut one leads to the layer around."""
        node = self._current()
        if node is None or self._open is None:
            return
        if wanted and not node.leaf:
            self._open.add(node.name)
        elif not wanted and node.name in self._open:
            self._open.discard(node.name)
        elif not wanted and node.parent is not None:
            self.fill(node.parent)
            return
        self.fill(node.name)

    def action_expand_all(self, wanted: bool) -> None:
        """Open every layer, or only the roots."""
        node = self._current()
        self._open = {each.name for each in self._layers if wanted or each.depth < 1}
        self.fill(node.name if node else None)

    def on_paged_table_chosen(self, event: PagedTable.Chosen) -> None:
        """Filter all panes to the layer and what is below it."""
        event.stop()
        node = self._current()
        if node is not None and self.selection is not None:
            globs = subtree_globs(node.name, {each.name: each.parent for each in self._layers})
            self.post_message(self.Filter(with_globs(self.selection.query, "layer", globs)))
