"""The innermost span around a moment, against a search through all of them."""

from __future__ import annotations

import numpy as np
import pytest

from deepseek_prof.recording.innermost import innermost

Spans = list[tuple[int, int]]


def nested(rng: np.random.Generator, low: int, high: int, depth: int = 0) -> Spans:
    """Random spans that nest, in the order of their ends."""
    found: Spans = []
    now = low
    while now < high - 2 and rng.random() < 0.85:
        start = int(rng.integers(now, high))
        end = int(rng.integers(start, high))
        if depth < 6:
            found += nested(rng, start, end, depth + 1)
        found.append((start, end))
        now = end
    return found


def searched(spans: Spans, moment: int) -> int:
    return next((index for index, (start, end) in enumerate(spans) if start <= moment < end), -1)


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_first_to_end_of_those_around(seed: int) -> None:
    spans = nested(np.random.default_rng(seed), 0, 300)
    start, end = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    moments = np.arange(-3, 310)
    assert list(innermost(start, end, moments)) == [searched(spans, int(moment)) for moment in moments]


def test_a_span_around_a_million_others_is_found() -> None:
    start = np.arange(1_000_001, dtype=np.int64) * 10
    end = start + 5
    start[-1] = 0
    index = innermost(start, end, np.array([7, 12, 9_999_997, 10_000_005]))
    assert list(index) == [1_000_000, 1, 1_000_000, -1]


def test_no_spans_and_no_moments() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert list(innermost(nothing, nothing, np.array([1, 2]))) == [-1, -1]
    assert len(innermost(np.array([1]), np.array([5]), nothing)) == 0
