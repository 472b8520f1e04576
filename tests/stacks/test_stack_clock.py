"""Marks date py-spy's clock, also where some of what it saw is late or wrong."""

from __future__ import annotations

import numpy as np
import pytest

from deepseek_prof.recording.stack_clock import Anchor, Mark, find_anchor, parse_marks, unsampled
from deepseek_prof.recording.stack_names import MARK_NUMBERS

PERIOD_NS = 10_000_000
OFFSET_NS = 7_000_000_000
STARTED_NS = OFFSET_NS - 4_000_000
"""Before py-spy was started; its clock begins a little later."""


def marks_of(count: int, gap_ns: int = 50_000_000) -> list[Mark]:
    lines = []
    now_ns = OFFSET_NS - 200_000_000
    for index in range(count):
        lines.append(f"{now_ns} {now_ns + PERIOD_NS} {index % MARK_NUMBERS + 1}\n")
        now_ns += PERIOD_NS + gap_ns
    return parse_marks(lines)[0]


def seen_in(marks: list[Mark], rng: np.random.Generator, until_ns: int) -> list[tuple[int, int]]:
    """What a sampler sees that samples at random moments."""
    moment_ns, last, seen = float(OFFSET_NS), 0, []
    while moment_ns < until_ns:
        number = next((mark.number for mark in marks if mark.start_ns <= moment_ns < mark.end_ns), 0)
        if number != last:
            seen.append((int(moment_ns) - OFFSET_NS, number))
            last = number
        moment_ns += rng.exponential(PERIOD_NS)
    return seen


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [10, 60])
def test_the_offset_is_found_to_within_a_period(seed: int, count: int) -> None:
    marks = marks_of(count)
    seen = seen_in(marks, np.random.default_rng(seed), marks[-1].end_ns)
    anchor = find_anchor(seen, marks, STARTED_NS, PERIOD_NS)
    assert anchor is not None
    assert anchor.error_ns <= PERIOD_NS
    assert abs(anchor.offset_ns - OFFSET_NS) <= anchor.error_ns + 1


@pytest.mark.parametrize("seed", range(10))
def test_late_and_misread_samples_do_not_lead_astray(seed: int) -> None:
    marks = marks_of(60)
    rng = np.random.default_rng(seed)
    seen = seen_in(marks, rng, marks[-1].end_ns)
    for index in range(0, len(seen), 6):
        seen[index] = (seen[index][0] + 30_000_000, seen[index][1])
    for index in range(3, len(seen), 9):
        seen[index] = (seen[index][0], seen[index][1] % MARK_NUMBERS + 1)
    anchor = find_anchor(seen, marks, STARTED_NS, PERIOD_NS)
    assert anchor is not None
    assert abs(anchor.offset_ns - OFFSET_NS) <= PERIOD_NS


def test_without_a_mark_in_it_nothing_is_dated() -> None:
    marks = marks_of(10)
    assert find_anchor([], marks, STARTED_NS, PERIOD_NS) is None
    assert find_anchor([(5, 0)], marks, STARTED_NS, PERIOD_NS) is None
    assert find_anchor([(5, 3)], [], STARTED_NS, PERIOD_NS) is None


def test_the_clock_does_not_begin_before_py_spy() -> None:
    marks = [Mark(100, 300, 1)]
    assert find_anchor([(50, 1)], marks, 200, 1000) == Anchor(225, 25)


def test_damaged_lines_are_left_out() -> None:
    lines = ["1 2 1\n", "x 3 2\n", "9 4 2\n", "\n", "3 4 2\n", "140 77\n", "5 6 3"]
    marks, threads = parse_marks(lines)
    assert marks == [Mark(1, 2, 1), Mark(2, 3, 0), Mark(3, 4, 2)]
    assert threads == {140: 77}


def test_time_in_which_no_mark_was_seen_was_not_sampled() -> None:
    marks = marks_of(60)
    numbered = [mark for mark in marks if mark.number]
    changes = [mark.start_ns + 1 for mark in numbered[:20] + numbered[40:]]
    assert unsampled(changes, marks) == [(numbered[19].start_ns + 1, numbered[40].start_ns + 1)]
    assert unsampled([mark.start_ns + 1 for mark in numbered[::5]], marks) == []
    assert unsampled([], marks) == []
    # Where the program does not run, neither do the marks.
    assert unsampled([marks[-1].end_ns + 1, marks[-1].end_ns + 10**11], marks) == []
