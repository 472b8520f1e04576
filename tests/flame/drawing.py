"""The step that most tests of flame graphs draw, and profiles as plain values."""

from __future__ import annotations

from deepseek_prof.analysis.flame import Profile
from tests.support.drawn import Node, module, op


def draw(rank: int, step: int) -> tuple[Node, ...]:
    """100 ns forward in two layers, 200 ns of backward for one of them, 30 ns on a thread beside it."""
    node = Node(
        "AddmmBackward0",
        180,
        "autograd",
        "backward",
        "net.fc",
        (op("aten::mm", 170, phase="backward", layer="net.fc"),),
        ("net", "net.fc"),
    )
    return (
        module("net", 100, module("net.fc", 80, op("aten::linear", 70, op("aten::addmm", 60))), op("aten::add", 10)),
        Node("backward", 200, "phase", "backward", children=(node,)),
        Node("aten::mm", 30, phase="data", tid=77),
    )


def weights(profile: Profile) -> dict[str, int]:
    """Weights by path, frames joined by `` > ``."""
    found = {" > ".join(frame.name for frame in stack.path): stack.weight for stack in profile.stacks}
    assert len(found) == len(profile.stacks)
    return found


def total_of(profile: Profile, name: str, kind: str) -> int:
    """Time in stacks that hold a frame, as a viewer adds it up."""
    return sum(
        stack.weight
        for stack in profile.stacks
        if any((frame.name, frame.kind) == (name, kind) for frame in stack.path)
    )
