"""Launch latency and queue length on timelines drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deepseek_prof.analysis.gpu.launches import launch_stats, queue_length
from tests.unit.analysis.gpu.drawn import timeline


def test_latency_is_waiting_in_the_stream_and_the_rest() -> None:
    # The second waits 90 for the first, then 10; the third is on another stream and waits for nothing.
    found = launch_stats(timeline([(0, 100, -1), (20, 40, 15), (110, 150, 10)], streams=[7, 8, 7]), bins=3)
    assert found is not None
    assert (found.count, found.not_seen) == (2, 1)
    assert (found.max_ns, found.queued_ns) == (100, 90)
    assert found.delay_p50_ns == 7  # of 5 and 10
    assert found.delay_p99_ns == pytest.approx(10, abs=1)


def test_the_queue_over_time() -> None:
    found = launch_stats(timeline([(0, 10, 0), (40, 50, 10), (60, 100, 20)]), bins=5)
    assert found is not None
    assert found.max_queue == 2
    # One from 10 to 20, two to 40, one to 60, none after.
    assert found.mean_queue == pytest.approx((10 + 2 * 20 + 20) / 100)
    assert found.empty_share == pytest.approx(0.5)
    assert found.queue == pytest.approx((0.5, 2.0, 1.0, 0.0, 0.0))


def test_work_that_seems_to_start_before_its_launch_never_waits() -> None:
    times, lengths = queue_length(np.array([10]), np.array([9]))
    assert lengths.tolist() == [0]
    assert times.tolist() == [10]
    found = launch_stats(timeline([(9, 20, 10)]))
    assert found is not None
    assert (found.max_ns, found.max_queue, found.queued_ns) == (0, 0, 0)


def test_without_launches_there_is_nothing() -> None:
    assert launch_stats(timeline([(0, 10, -1)])) is None
