"""Self times by nesting: every nanosecond of a thread counts once, for the innermost event."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepseek_prof.importing.context_builder import ContextBuilder
from deepseek_prof.importing.labels import label_of
from deepseek_prof.importing.nesting import Nested, SequenceLayers, ThreadEvents, nest

NAMES = "abcdef"


def nested(spans: list[tuple[int, int, str]], block_size: int = 3) -> tuple[Nested, ContextBuilder]:
    """Nests operators given as start, end and name, in any order."""
    ordered = sorted(spans, key=lambda span: (span[0], span[0] - span[1]))
    contexts = ContextBuilder([label_of("cpu_op", name) for name in NAMES])
    start_ns = np.array([start for start, _, _ in ordered], dtype=np.int64)
    none = np.full(len(ordered), -1, dtype=np.int64)
    label = np.array([NAMES.index(name) for _, _, name in ordered], dtype=np.int32)
    dur_ns = np.array([end for _, end, _ in ordered], dtype=np.int64) - start_ns
    blocks = [
        ThreadEvents(label[rows], start_ns[rows], dur_ns[rows], none[rows], none[rows])
        for rows in (slice(first, first + block_size) for first in range(0, len(ordered), block_size))
    ]
    return nest(0, len(ordered), blocks, contexts, SequenceLayers()), contexts


def paths(found: Nested, contexts: ContextBuilder) -> list[str]:
    """The names from the root to each event."""
    table = contexts.table.to_arrow().to_pylist()
    by_id = {row["context_id"]: row for row in table}
    ids, _ = contexts.table.ids_of(found.context.astype(np.int64))

    def path(row: dict[str, object] | None) -> str:
        return "" if row is None else path(by_id.get(row["parent_id"])) + str(row["name"])

    return [path(by_id[each]) for each in ids.tolist()]


def covered(spans: list[tuple[int, int, str]]) -> int:
    """Nanoseconds in at least one of the spans."""
    return len({moment for start, end, _ in spans for moment in range(start, end)})


def test_events_nest_by_their_times() -> None:
    found, contexts = nested(
        [(0, 10_000, "a"), (1000, 4000, "b"), (2000, 3000, "c"), (5000, 9000, "b"), (20_000, 20_001, "a")]
    )
    assert paths(found, contexts) == ["a", "ab", "abc", "ab", "a"]
    assert found.self_ns.tolist() == [3000, 2000, 1000, 4000, 1]


def test_events_that_touch_are_beside_each_other() -> None:
    found, contexts = nested([(0, 10, "a"), (10, 20, "b"), (20, 20, "c"), (20, 30, "d")])
    assert paths(found, contexts) == ["a", "b", "d", "dc"]
    assert found.self_ns.tolist() == [10, 10, 10, 0]


def test_an_event_of_no_length_lies_in_what_begins_with_it() -> None:
    found, contexts = nested([(0, 10, "a"), (5, 5, "b"), (5, 8, "c")])
    assert paths(found, contexts) == ["a", "ac", "acb"]


def test_a_frame_that_enters_a_scope_ends_where_the_scope_begins() -> None:
    found, contexts = nested([(0, 100_000, "a"), (10_000, 20_000, "b"), (15_000, 90_000, "c"), (30_000, 40_000, "d")])
    assert paths(found, contexts) == ["a", "ab", "ac", "acd"]
    assert found.self_ns.tolist() == [20_000, 5000, 65_000, 10_000]


def test_what_ends_later_by_the_rounding_of_the_clock_is_still_inside() -> None:
    found, contexts = nested([(0, 100_000, "a"), (10_000, 100_500, "b")])
    assert paths(found, contexts) == ["a", "ab"]
    assert found.self_ns.tolist() == [10_000, 90_000]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30), st.sampled_from(NAMES)), max_size=25))
def test_self_times_add_up_to_the_time_covered(drawn: list[tuple[int, int, str]]) -> None:
    spans = [(start, start + length, name) for start, length, name in drawn]
    found, _ = nested(spans)
    assert int(found.self_ns.sum()) <= covered(spans)
    assert (found.self_ns >= 0).all()
    # Far above the rounding of the clock nothing is cut off, and the sum is exact.
    scaled = [(start * 10_000, end * 10_000, name) for start, end, name in spans]
    assert int(nested(scaled)[0].self_ns.sum()) == covered(spans) * 10_000
