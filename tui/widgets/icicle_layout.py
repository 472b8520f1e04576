"""Where the blocks of an icicle graph lie: a tree of sums and a width in cells → boxes by row. No drawing here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deepseek_prof.analysis.flame import Profile
from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.tui.frames import frame_label


@dataclass(frozen=True, eq=False)
class Block:
    """A node of the graph. Blocks are told apart by identity: siblings may have the same name."""

    frame: Frame
    label: str
    """What stands in the box: the frame's name, or the part of it that the block above does not already say."""
    value: int
    """Width of the block, in the profile's unit. At least the sum of ``children``'s."""
    own: int
    """The part of ``value`` that no child has."""
    count: int
    """Spans or samples of its own."""
    children: tuple[Block, ...] = ()
    """In the order in which they are drawn."""


BlockPath = tuple[Block, ...]
"""From the root to a block, both included."""


def blocks(profile: Profile) -> Block:
    """The tree of a profile's stacks below one block for all of it."""
    root = _Branch(Frame("all", ""), "all")
    for stack in profile.stacks:
        branch = root
        for frame in stack.path:
            branch = branch.child(frame)
        branch.own += stack.weight
        branch.count += stack.count
    order = [root]
    for branch in order:  # grows while it is walked: parents stand before their children
        order.extend(branch.children.values())
    built: dict[int, Block] = {}
    for branch in reversed(order):
        children = tuple(built[id(child)] for child in branch.children.values())
        value = branch.own + sum(child.value for child in children)
        built[id(branch)] = Block(branch.frame, branch.label, value, branch.own, branch.count, children)
    return built[id(root)]


@dataclass
class _Branch:
    frame: Frame
    label: str = ""
    own: int = 0
    count: int = 0
    children: dict[Frame, _Branch] = field(default_factory=dict)

    def child(self, frame: Frame) -> _Branch:
        """The branch of a frame below this one."""
        found = self.children.get(frame)
        if found is None:
            found = self.children[frame] = _Branch(frame, frame_label(frame, self.frame))
        return found


@dataclass(frozen=True)
class Box:
    """A block as drawn: cells ``start`` to ``end`` of its row."""

    start: int
    end: int
    path: BlockPath

    @property
    def block(self) -> Block:
        """What the box shows."""
        return self.path[-1]


def layout(focus: BlockPath, width: int) -> list[list[Box]]:
    """The rows of boxes, the root's first, with the last block of ``focus`` and all above it as wide as the graph.

    A block begins and ends at the cell nearest to its place: boxes tile as their blocks do, a block that is narrower
    than a cell has one or none, and what is left of a row behind the children is their parent's own.
    """
    if width <= 0 or not focus:
        return []
    rows = [[Box(0, width, focus[: depth + 1])] for depth in range(len(focus))]
    row = rows[-1]
    while row:
        row = [box for above in row for box in _children(above)]
        if row:
            rows.append(row)
    return rows


def _children(above: Box) -> Iterator[Box]:
    block, width = above.block, above.end - above.start
    if block.value <= 0:
        return
    reached, start = 0, above.start
    for child in block.children:
        reached += child.value
        end = above.start + round(width * min(1.0, reached / block.value))
        if end > start:
            yield Box(start, end, (*above.path, child))
            start = end


def follow(root: Block, names: Sequence[str]) -> BlockPath:
    """The path below ``root`` whose names are ``names``, the root's own left out, as far as there are such blocks."""
    path: BlockPath = (root,)
    for name in names:
        below = next((child for child in path[-1].children if child.frame.name == name), None)
        if below is None:
            break
        path = (*path, below)
    return path


def walk(root: Block) -> Iterator[BlockPath]:
    """The paths to all blocks, a block before its children."""
    waiting: list[BlockPath] = [(root,)]
    while waiting:
        path = waiting.pop()
        yield path
        waiting.extend((*path, child) for child in reversed(path[-1].children))


def matches(root: Block, text: str) -> tuple[list[BlockPath], int]:
    """The blocks whose name holds ``text`` in any case, in the order of :func:`walk`, and what they cover together.

    A match inside a match covers nothing new.
    """
    wanted = text.casefold()
    found: list[BlockPath] = []
    covered = 0
    inside: BlockPath = ()
    for path in walk(root):
        if wanted not in path[-1].frame.name.casefold():
            continue
        found.append(path)
        if not inside or len(path) < len(inside) or path[len(inside) - 1] is not inside[-1]:
            covered += path[-1].value
            inside = path
    return found, covered


def sibling(path: BlockPath, step: int) -> BlockPath:
    """The path to the block ``step`` places further among its siblings; the same path at their ends."""
    if len(path) < 2:
        return path
    siblings = path[-2].children
    place = next(index for index, each in enumerate(siblings) if each is path[-1]) + step
    return (*path[:-1], siblings[place]) if 0 <= place < len(siblings) else path


def is_above(above: BlockPath, path: BlockPath) -> bool:
    """Whether ``above`` is the path to an ancestor of ``path``'s block or to that block."""
    return path[: len(above)] == above
