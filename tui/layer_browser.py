"""The layer tree beside the panes: choosing a layer filters all panes to it and what is below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from deepseek_prof.analysis.layer_tree import LayerNode
from deepseek_prof.query import quoted
from deepseek_prof.text import clean, percent


def subtree_globs(name: str, parents: Mapping[str, str | None]) -> tuple[str, ...]:
    """Values of ``layer:`` that select a layer and all below it; ``parents`` has all layers of the run.

    A root is not part of its sub-layers' names: where it is the only one, ``*`` selects them.
    """
    if parents.get(name) is None and sum(parent is None for parent in parents.values()) == 1:
        return ("*",)
    children: dict[str | None, list[str]] = {}
    for each, parent in parents.items():
        children.setdefault(parent, []).append(each)
    below, waiting = [name], [name]
    while waiting:
        found = children.get(waiting.pop(), [])
        below += found
        waiting += found
    globs: list[str] = []
    covered: set[str] = set()
    for each in sorted(below, key=len):
        if each in covered:
            continue
        globs.append(quoted(each))
        nested = {other for other in below if other.startswith(f"{each}.")}
        if nested - covered:
            globs.append(_prefix_glob(each))
        covered |= nested
    return tuple(globs)


def _prefix_glob(name: str) -> str:
    text = quoted(f"{name}.")
    return f'{text[:-1]}*"' if text.startswith('"') else f"{text}*"


class LayerBrowser(Tree[str]):
    """Layers by name. Typing letters goes to the next layer whose name holds them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "open", "Expand", show=False),
        Binding("left", "shut", "Collapse, or to the layer around", show=False),
        Binding("backspace", "unfind", "Forget a letter of what is sought", show=False),
    ]
    DEFAULT_CSS = """
    LayerBrowser { height: 1fr; background: $background; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    LayerBrowser > .tree--guides { color: $panel; }
    """

    @dataclass
    class Picked(Message):
        """A layer was chosen: the values of ``layer:`` that select it with all below; none: any layer."""

        globs: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__(Text("layers"), id="layers-tree")
        self.guide_depth = 2
        self._parents: dict[str, str | None] = {}
        self._by_name: dict[str, TreeNode[str]] = {}
        self._shares: dict[str, float] = {}
        self.sought = ""
        """What was typed to find a layer."""

    def show(self, nodes: Sequence[LayerNode]) -> None:
        """Show the layers of a run with their shares; where they are those that are shown, nothing moves."""
        before, self._shares = self._shares, {node.name: node.share for node in nodes}
        parents = {node.name: node.parent for node in nodes}
        if parents == self._parents:
            for name, share in self._shares.items():
                if share != before.get(name):
                    self._by_name[name].refresh()
            return
        self._parents = parents
        self._by_name = {}
        self.clear()
        for node in nodes:
            around = self.root if node.parent is None else self._by_name[node.parent]
            self._by_name[node.name] = around.add(
                self._label(node.name), node.name, expand=node.depth == 0, allow_expand=not node.leaf
            )
        self.root.expand()

    def _label(self, name: str) -> Text:
        parent = self._parents.get(name)
        label = name[len(parent) + 1 :] if parent and name.startswith(f"{parent}.") else name
        return Text(clean(label, 60), no_wrap=True)

    def render_label(self, node: TreeNode[str], base_style: Style, style: Style) -> Text:
        """The label as it is, no part of it being markup, with the share of what is selected."""
        label = node.label.copy() if isinstance(node.label, Text) else Text(str(node.label))
        label.stylize(style)
        prefix = ("▾ " if node.is_expanded else "▸ ") if node.allow_expand else "  "
        share = self._shares.get(node.data or "", 0.0)
        return Text.assemble((prefix, base_style), label, (f" {percent(share)}" if share else "", base_style))

    def on_tree_node_selected(self, event: Tree.NodeSelected[str]) -> None:
        """Filter by the layer; the root lifts that."""
        event.stop()
        name = event.node.data
        self.post_message(self.Picked(() if name is None else subtree_globs(name, self._parents)))

    def action_open(self) -> None:
        """Expand."""
        if self.cursor_node is not None:
            self.cursor_node.expand()

    def action_shut(self) -> None:
        """Collapse; a layer that is shut already leads to the one around it."""
        node = self.cursor_node
        if node is None:
            return
        if node.is_expanded and node.allow_expand:
            node.collapse()
        elif node.parent is not None:
            self.move_cursor(node.parent)

    def action_unfind(self) -> None:
        """Take back the last letter."""
        self.find(self.sought[:-1])

    def on_key(self, event: Key) -> None:
        """Letters seek; Escape ends that."""
        if event.key == "escape" and self.sought:
            event.stop()
            self.find("")
        elif self._seeks(event.character):
            event.stop()
            event.prevent_default()
            self.find(self.sought + (event.character or ""))

    def _seeks(self, character: str | None) -> bool:
        if character is None or not character.isprintable() or character == " ":
            return False
        return character.isalpha() or character in "._" or bool(self.sought)

    def find(self, text: str) -> None:
        """Go to the first layer, from the cursor on, whose name holds ``text``."""
        self.sought = text
        self.border_subtitle = ""
        self.root.set_label(Text(f"layers: {clean(text)}" if text else "layers"))
        if not text:
            return
        names = list(self._by_name)
        current = self.cursor_node.data if self.cursor_node is not None else None
        start = names.index(current) if current in self._by_name else 0
        wanted = text.lower()
        found = next((name for name in names[start:] + names[:start] if wanted in name.lower()), None)
        if found is None:
            self.root.set_label(Text(f"layers: {clean(text)} (none)"))
            return
        node: TreeNode[str] | None = self._by_name[found]
        around = self._by_name[found].parent
        while around is not None:
            around.expand()
            around = around.parent
        self.call_after_refresh(self.move_cursor, node)
