"""Device times of steps and layers from events: the pool, the chain of distances, and that nothing is waited for."""

from __future__ import annotations

from typing import Any

from deepseek_prof.collectors.cuda_events import EventPool, StepTimer
from deepseek_prof.recording.device_format import MARK, DeviceActivities

MS = 1_000_000


class Stream:
    """A device that does what it is given ``behind_ns`` after the host, on the host's clock."""

    def __init__(self, behind_ns: int) -> None:
        self.host_ns = 1_000 * MS
        self.behind_ns = behind_ns
        self.waits = 0

    def make(self) -> Any:
        """An event of this stream."""
        return Event(self)


class Event:
    """Stands in for ``torch.cuda.Event``."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.at_ns = 0

    def record(self) -> None:
        """Passed ``behind_ns`` later."""
        self.at_ns = self._stream.host_ns + self._stream.behind_ns

    def query(self) -> bool:
        """Whether the device is there."""
        return self._stream.host_ns >= self.at_ns

    def synchronize(self) -> None:
        """The host waits."""
        self._stream.waits += 1
        self._stream.host_ns = max(self._stream.host_ns, self.at_ns)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds; as in CUDA an error where one of the two is yet to come."""
        if not (self.query() and end_event.query()):
            raise RuntimeError("CUDA error: device not ready")
        return (end_event.at_ns - self.at_ns) / MS


def _rows(activities: DeviceActivities) -> list[dict[str, Any]]:
    labels = {number: label for label, number in activities.labels.items()}
    rows = [
        dict(zip(activities.columns, values, strict=True)) for values in zip(*activities.columns.values(), strict=True)
    ]
    return [{**row, "label": labels[row["label"]]} for row in rows]


def _run(stream: Stream, pool: EventPool, steps: int) -> DeviceActivities:
    timer, activities = StepTimer(pool), DeviceActivities()
    for _ in range(steps):
        timer.step(lambda: stream.host_ns)
        timer.read(activities, 0, 77)
        for name, dur_ms in (("a", 2), ("b", 3)):
            stream.host_ns += MS
            timer.enter(name, stream.host_ns)
            stream.host_ns += dur_ms * MS
            timer.leave()
        stream.host_ns += 5 * MS
    return activities


def test_steps_and_layers_have_the_devices_times() -> None:
    stream = Stream(behind_ns=4 * MS)
    rows = _rows(_run(stream, EventPool(stream.make), 20))
    steps = [row for row in rows if row["label"] == ("gpu_user_annotation", "step")]
    assert len(steps) >= 18
    first, *others = steps
    assert first["dur_ns"] == 12 * MS + stream.behind_ns  # the host waits for the device, once
    assert {row["dur_ns"] for row in others} == {12 * MS}
    begin_ns = others[0]["start_ns"]
    assert [row["start_ns"] for row in others] == [begin_ns + 12 * MS * index for index in range(len(others))]
    layers = [row for row in rows if row["label"][1] in ("a", "b")]
    assert {(row["label"][1], row["dur_ns"]) for row in layers} == {("a", 2 * MS), ("b", 3 * MS)}
    marks = {row["correlation"]: row for row in rows if row["label"][0] == MARK}
    for row in layers:
        assert marks[row["correlation"]]["resource"] == 77
        assert row["start_ns"] == marks[row["correlation"]]["start_ns"] + stream.behind_ns


def test_only_the_first_step_is_waited_for_and_events_are_used_again() -> None:
    stream = Stream(behind_ns=20 * MS)
    pool = EventPool(stream.make)
    _run(stream, pool, 100)
    assert stream.waits == 1
    # At most three steps are on their way, each with its own event and two for each of its two layers.
    assert pool.made <= 20


def test_what_the_device_has_not_passed_is_not_read() -> None:
    stream = Stream(behind_ns=10_000 * MS)
    pool = EventPool(stream.make)
    rows = _rows(_run(stream, pool, 10))
    assert rows == []
    assert stream.waits == 1


def test_a_layer_on_a_slower_stream_is_waited_for_with_its_step() -> None:
    stream, slow = Stream(behind_ns=0), Stream(behind_ns=5_000 * MS)
    made = iter([stream.make(), slow.make(), slow.make(), stream.make(), stream.make()])
    timer, activities = StepTimer(EventPool(lambda: next(made))), DeviceActivities()
    timer.step(lambda: stream.host_ns)
    timer.enter("side", stream.host_ns)
    timer.leave()
    stream.host_ns += MS
    timer.step(lambda: stream.host_ns)
    timer.read(activities, 0, 77)
    assert _rows(activities) == []
    stream.host_ns = slow.host_ns = slow.host_ns + slow.behind_ns
    timer.read(activities, 0, 77)
    assert {row["label"][1] for row in _rows(activities)} == {"", "step", "side"}
