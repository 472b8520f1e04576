"""Boxes of an icicle graph: where they lie, and that they say what the profile says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_prof.analysis.flame import Profile, weighted_profile
from deepseek_prof.analysis.flame_paths import Frame
from deepseek_prof.tui.widgets.icicle_layout import (
    Block,
    BlockPath,
    blocks,
    follow,
    is_above,
    layout,
    matches,
    sibling,
    walk,
)


def profile(weights: dict[str, int]) -> Profile:
    """A profile of stacks written as ``a > b``."""
    entries = [
        (tuple(Frame(name, "layer") for name in path.split(" > ")), weight, 1) for path, weight in weights.items()
    ]
    (found,) = weighted_profile("test", "nanoseconds", entries)
    return found


def names(path: Sequence[Block]) -> list[str]:
    """The names of a path below the root."""
    return [block.frame.name for block in path[1:]]


TREE = {"net > net.fc > mm": 60, "net > net.fc": 10, "net > net.conv": 20, "net": 5, "loss": 5}


def test_blocks_hold_the_sums_of_their_stacks() -> None:
    root = blocks(profile(TREE))
    found = {" > ".join(names(path)): (path[-1].value, path[-1].own) for path in walk(root)}
    assert found == {
        "": (100, 0),
        "net": (95, 5),
        "net > net.fc": (70, 10),
        "net > net.fc > mm": (60, 60),
        "net > net.conv": (20, 20),
        "loss": (5, 5),
    }


def test_a_layer_inside_a_layer_is_labelled_by_what_is_new() -> None:
    root = blocks(profile(TREE))
    assert [path[-1].label for path in walk(root)] == ["all", "net", "fc", "mm", "conv", "loss"]


def test_boxes_are_as_wide_as_their_share() -> None:
    rows = layout((blocks(profile(TREE)),), 100)
    found = [[(box.block.frame.name, box.start, box.end) for box in row] for row in rows]
    assert found == [
        [("all", 0, 100)],
        [("net", 0, 95), ("loss", 95, 100)],
        [("net.fc", 0, 70), ("net.conv", 70, 90)],
        [("mm", 0, 60)],
    ]


def test_the_zoomed_block_and_those_above_it_fill_the_width() -> None:
    root = blocks(profile(TREE))
    rows = layout(follow(root, ["net", "net.fc"]), 70)
    found = [[(box.block.frame.name, box.start, box.end) for box in row] for row in rows]
    assert found == [[("all", 0, 70)], [("net", 0, 70)], [("net.fc", 0, 70)], [("mm", 0, 60)]]


@pytest.mark.parametrize("width", [0, -3])
def test_no_room_no_boxes(width: int) -> None:
    assert layout((blocks(profile(TREE)),), width) == []
    assert layout((), 80) == []


STACK = st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=5), st.integers(1, 10**15))


@given(st.lists(STACK, min_size=1, max_size=40), st.integers(1, 250))
def test_boxes_tile_inside_their_parents(stacks: list[tuple[list[str], int]], width: int) -> None:
    entries = [(tuple(Frame(name, "op") for name in path), weight, 1) for path, weight in stacks]
    (found,) = weighted_profile("test", "nanoseconds", entries)
    root = blocks(found)
    assert root.value == found.total == sum(weight for _, weight in stacks)
    rows = layout((root,), width)
    for row in rows:
        assert all(left.end <= right.start for left, right in pairwise(row))
        assert all(0 <= box.start < box.end <= width for box in row)
    for above, below in pairwise(rows):
        spans = {id(box.block): box for box in above}
        for box in below:
            parent = spans[id(box.path[-2])]
            assert parent.start <= box.start < box.end <= parent.end
            exact = (parent.end - parent.start) * box.block.value / parent.block.value
            assert box.end - box.start <= exact + 2


def test_the_way_to_a_block_is_found_again_in_another_tree() -> None:
    other = blocks(profile({"net > net.fc": 1, "loss": 1}))
    assert names(follow(other, ["net", "net.fc"])) == ["net", "net.fc"]
    assert names(follow(other, ["net", "net.conv", "mm"])) == ["net"]
    assert names(follow(other, ["gone"])) == []


def test_siblings_end_where_they_end() -> None:
    root = blocks(profile(TREE))
    conv = follow(root, ["net", "net.conv"])
    assert names(sibling(conv, -1)) == ["net", "net.fc"]
    assert sibling(conv, 1) == conv
    assert sibling((root,), 1) == (root,)


def test_a_match_inside_a_match_covers_nothing_new() -> None:
    root = blocks(profile(TREE))
    found, covered = matches(root, "NET")
    assert [names(path) for path in found] == [["net"], ["net", "net.fc"], ["net", "net.conv"]]
    assert covered == 95
    found, covered = matches(root, "mm")
    assert ([names(path) for path in found], covered) == ([["net", "net.fc", "mm"]], 60)
    assert matches(root, "nothing like it") == ([], 0)


def test_matches_apart_are_added() -> None:
    root = blocks(profile({"a > x": 3, "b > x > y > x": 4, "x": 5}))
    assert matches(root, "x")[1] == 12


def test_what_stands_above() -> None:
    root = blocks(profile(TREE))
    net: BlockPath = follow(root, ["net"])
    assert is_above(net, follow(root, ["net", "net.fc"]))
    assert is_above(net, net)
    assert not is_above(follow(root, ["net", "net.fc"]), net)
    assert not is_above(follow(root, ["loss"]), net)
