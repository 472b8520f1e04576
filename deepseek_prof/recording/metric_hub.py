"""Where every metric of a run passes: who measures publishes here, who writes, serves or watches subscribes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from deepseek_prof.interfaces import CounterSample

Subscriber = Callable[[CounterSample], None]
"""Called on the publisher's thread, one sample at a time: it must be quick."""

SeriesKey = tuple[str, str, int, str]
"""Name, device, rank and unit: the samples that share them are one series."""


class MetricHub:
    """Passes samples on to the subscribers and keeps the last one of each series. Safe from any thread."""

    def __init__(self) -> None:
        self._delivery = threading.RLock()  # a subscriber may publish too
        # Apart from the above: a subscriber may wait for a thread that reads, as OpenTelemetry's does.
        self._lock = threading.Lock()
        self._subscribers: list[Subscriber] = []
        self._latest: dict[SeriesKey, CounterSample] = {}

    def subscribe(self, subscriber: Subscriber) -> None:
        """From now on ``subscriber`` gets every sample."""
        with self._delivery:
            self._subscribers.append(subscriber)

    def publish(self, name: str, value: float, unit: str, *, device: str = "cpu", rank: int = 0, ts_ns: int) -> None:
        """Tell a value; ``unit`` is ``ns``, ``bytes``, ``percent``, ``1/s`` or any other text, ``ts_ns`` nanoseconds
        since the Unix epoch."""
        self.publish_sample(CounterSample(ts_ns, rank, device, name, float(value), unit))

    def publish_sample(self, sample: CounterSample) -> None:
        """:meth:`publish` for a sample that is there already."""
        with self._delivery:
            with self._lock:
                self._latest[sample.name, sample.device, sample.rank, sample.unit] = sample
            for subscriber in self._subscribers:
                subscriber(sample)

    def latest(self) -> list[CounterSample]:
        """The last sample of each series, in the order in which the series began."""
        with self._lock:
            return list(self._latest.values())
