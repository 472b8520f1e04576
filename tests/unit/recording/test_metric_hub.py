"""The hub passes samples on in order, and can be read while it does."""

from __future__ import annotations

import threading

from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.metric_hub import MetricHub

LONG_S = 10


def test_the_hub_can_be_read_while_a_subscriber_is_at_work() -> None:
    """OpenTelemetry's thread reads the hub under the very lock that a subscriber needs for a new instrument."""
    hub = MetricHub()
    seen: list[list[CounterSample]] = []
    was_read: list[bool] = []

    def wait_for_a_reader(_: CounterSample) -> None:
        reader = threading.Thread(target=lambda: seen.append(hub.latest()), daemon=True)
        reader.start()
        reader.join(LONG_S)
        was_read.append(not reader.is_alive())

    hub.subscribe(wait_for_a_reader)
    hub.publish("loss", 1.0, "", ts_ns=1)
    assert was_read == [True]
    assert [sample.name for sample in seen[0]] == ["loss"]


def test_a_subscriber_may_publish() -> None:
    hub = MetricHub()

    def double(sample: CounterSample) -> None:
        if sample.name == "loss":
            hub.publish("twice", 2 * sample.value, "", ts_ns=sample.ts_ns)

    hub.subscribe(double)
    hub.publish("loss", 1.5, "", ts_ns=1)
    assert {sample.name: sample.value for sample in hub.latest()} == {"loss": 1.5, "twice": 3.0}
