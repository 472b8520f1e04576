"""Idle time and its causes, overlap and streams, on timelines drawn by hand."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from deepseek_prof.analysis.gpu.idle import device_time, overlaps, stream_times
from deepseek_prof.analysis.gpu.work import COMMUNICATION, COMPUTE, COPY
from tests.unit.analysis.gpu.drawn import timeline


def causes(**options: list[tuple[int, int]]) -> tuple[int, ...]:
    """Of the idle time from 100 to 200 before work that was launched at 170: launch, data, sync, start, unknown."""
    found = device_time(timeline([(0, 100, -1), (200, 300, 170)], **options))  # type: ignore[arg-type]
    assert found.idle_ns == 100
    return found.launch_ns, found.data_ns, found.sync_ns, found.start_ns, found.unknown_ns


def test_before_the_launch_the_host_is_late_and_after_it_the_start_is() -> None:
    assert causes() == (70, 0, 0, 30, 0)


def test_a_wait_for_data_is_one_only_before_the_launch() -> None:
    assert causes(waits=[(110, 140), (150, 190)]) == (20, 50, 0, 30, 0)


def test_a_queue_that_a_synchronisation_let_run_empty_is_its_fault_until_the_next_launch() -> None:
    assert causes(syncs=[(40, 105)]) == (0, 0, 70, 30, 0)
    assert causes(syncs=[(40, 100)]) == (0, 0, 70, 30, 0)
    assert causes(syncs=[(40, 105)], waits=[(110, 120)]) == (0, 10, 60, 30, 0)


def test_a_synchronisation_that_begins_later_takes_its_own_time() -> None:
    assert causes(syncs=[(120, 130)]) == (60, 0, 10, 30, 0)
    assert causes(syncs=[(120, 130)], waits=[(125, 150)]) == (40, 25, 5, 30, 0)


@pytest.mark.parametrize(("launched", "expected"), [(50, (0, 100)), (200, (100, 0)), (250, (100, 0)), (100, (0, 100))])
def test_launches_outside_the_idle_time(launched: int, expected: tuple[int, int]) -> None:
    found = device_time(timeline([(0, 100, -1), (200, 300, launched)]))
    assert (found.launch_ns, found.start_ns) == expected


def test_without_a_launch_the_cause_is_not_known() -> None:
    found = device_time(timeline([(0, 100, 0), (200, 300, -1), (400, 450, 390)]))
    assert (found.unknown_ns, found.launch_ns, found.start_ns) == (100, 90, 10)


def test_the_parts_of_a_device_with_three_streams() -> None:
    drawn = timeline(
        [(0, 100, -1), (50, 150, -1), (80, 120, -1), (200, 260, 180), (250, 300, -1)],
        kinds=[COMPUTE, COMMUNICATION, COPY, COPY, COMPUTE],
        streams=[7, 20, 22, 22, 7],
    )
    found = device_time(drawn)
    assert (found.extent_ns, found.busy_ns, found.idle_ns) == (300, 250, 50)
    assert (found.compute_ns, found.exposed_communication_ns, found.exposed_copy_ns) == (150, 50, 50)
    parts = astuple(found)[4:]
    assert sum(parts) == found.extent_ns
    assert [astuple(each)[2:] for each in overlaps(drawn)] == [("communication", 100, 50, 50), ("copy", 100, 30, 70)]
    assert [(each.stream, each.busy_ns, each.count) for each in stream_times(drawn)] == [
        (7, 150, 2),
        (20, 100, 1),
        (22, 100, 2),
    ]
