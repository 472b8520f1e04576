"""Alerts: what the text of a condition means, and what becomes of recorded series."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.errors import UsageError
from deepseek_prof.recording.alert_rules import parse_alert
from deepseek_prof.recording.alerts import AlertWatch
from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.recording.metric_hub import MetricHub

S = 1_000_000_000
NAN = float("nan")


class Watched:
    """An alert on a hub of its own, and the events that it wrote."""

    def __init__(self, folder: Path, *rules: str) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self.watch = AlertWatch([parse_alert(rule) for rule in rules], RecordingEvents(folder), self.warnings.append)
        self.hub = MetricHub()
        self.hub.subscribe(self.watch)

    def play(
        self,
        name: str,
        values: Sequence[float],
        unit: str = "",
        *,
        rank: int = 0,
        device: str = "cpu",
        since_s: int = 0,
    ) -> None:
        """One value a second."""
        for second, value in enumerate(values):
            self.hub.publish(name, value, unit, rank=rank, device=device, ts_ns=second * S)

    def events(self) -> list[tuple[str, int]]:
        """Event and second of each, in order of time."""
        return [(row["event"], row["ts_ns"] // S) for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        lines = [line for path in self.folder.glob("logs/*/*/*.jsonl") for line in path.read_text().splitlines()]
        return sorted((json.loads(line) for line in lines), key=lambda row: int(row["ts_ns"]))


def test_loss_is_every_loss(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "loss is nan")
    watched.play("lossless", [NAN])
    assert watched.watch.unseen() == ["loss is nan"]
    watched.play("d_loss", [1.0, NAN, 2.0])
    watched.play("generator.loss (Trainer)", [1.0, 1.0, 1.0, NAN])
    assert watched.watch.unseen() == []
    assert watched.events() == [("alert_fired", 1), ("alert_cleared", 2), ("alert_fired", 3)]


def test_a_bound_fires_after_its_time_and_clears(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "p99_latency > 50ms for 3s")
    slow, quick = 60e6, 40e6
    watched.play("step_latency_p99", [quick, slow, slow, quick, slow, slow, slow, slow, slow, quick, quick], "ns")
    assert watched.events() == [("alert_fired", 7), ("alert_cleared", 9)]
    fired = watched.rows()[0]
    assert fired["level"] == "warning"
    assert fired["fields"]["alert"] == "p99_latency > 50ms for 3s"
    assert fired["fields"]["metric"] == "step_latency_p99"
    assert (fired["fields"]["value"], fired["fields"]["unit"]) == (slow, "ns")
    assert watched.watch.fired == {"p99_latency > 50ms for 3s": 1}


def test_each_rank_and_device_is_watched_by_itself(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "cpu >= 90% for 2s")
    for rank, values in ((0, [95, 10, 95, 10, 95]), (1, [95, 95, 95, 95, 95])):
        watched.play("cpu", values, "percent", rank=rank)
    assert watched.events() == [("alert_fired", 2)]
    assert list(tmp_path.glob("logs/rank=1/*/*.jsonl"))


def test_a_loss_that_is_nan(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "loss is nan", "loss is not finite")
    watched.play("loss", [0.5, 0.4, NAN, NAN, 0.3, float("inf")])
    assert watched.events() == [
        ("alert_fired", 2), ("alert_fired", 2), ("alert_cleared", 4), ("alert_cleared", 4), ("alert_fired", 5)
    ]  # fmt: skip
    assert watched.watch.fired == {"loss is nan": 1, "loss is not finite": 2}


def test_a_drop_is_measured_from_what_was_usual(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "throughput drops 30% for 5s")
    usual, low = [100.0, 98.0, 103.0, 99.0, 101.0, 100.0], [65.0] * 8
    watched.play("throughput_steps", [*usual, *low, 99.0], "1/s")
    assert watched.events() == [("alert_fired", 11), ("alert_cleared", 14)]
    assert watched.rows()[0]["fields"]["usual"] == 100.0


def test_a_drop_that_is_too_small_or_too_short(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "throughput drops 30% for 5s")
    watched.play("throughput_steps", [*[100.0] * 10, *[75.0] * 20, *[50.0] * 3, 100.0], "1/s")
    assert watched.events() == []


@pytest.mark.parametrize("spelling", ["utilisation", "utilization"])
def test_utilisation_drops(tmp_path: Path, spelling: str) -> None:
    watched = Watched(tmp_path, f"{spelling} drops 50%")
    watched.play("gpu_utilisation", [90.0] * 6 + [20.0], "percent", device="cuda:0")
    assert watched.events() == [("alert_fired", 6)]


@pytest.mark.parametrize("name", ["utilization", "throughput"])
def test_a_programs_own_metric_may_have_a_short_name(tmp_path: Path, name: str) -> None:
    watched = Watched(tmp_path, f"{name} > 5")
    watched.play(name, [1.0, 9.0])
    assert watched.events() == [("alert_fired", 1)]


def test_latency_means_requests_where_there_are_any(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "p99_latency > 50ms")
    watched.play("request_latency_p99", [1e6, 1e6], "ns")
    watched.play("step_latency_p99", [90e6, 90e6], "ns")
    assert watched.events() == []


def test_a_bare_number_is_in_the_metrics_own_unit(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "my/metric<-1.5e-1", "rss > 1GiB")
    watched.play("my/metric", [0.0, -0.2])
    watched.play("rss", [2**29, 2**31], "bytes")
    assert sorted(row["fields"]["alert"] for row in watched.rows()) == ["my/metric<-1.5e-1", "rss > 1GiB"]


def test_a_unit_that_does_not_fit_is_told_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "rss > 5ms")
    watched.play("rss", [1, 2, 3], "bytes")
    assert watched.events() == []
    assert len(watched.warnings) == 1
    assert "rss is in bytes" in watched.warnings[0]


def test_metrics_that_never_came_are_named(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "loss is nan", "cpu > 1")
    watched.play("cpu", [5.0], "percent")
    assert watched.watch.unseen() == ["loss is nan"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a condition"),
        ("loss", "is not a condition"),
        ("loss is purple", "is not understood"),
        ("loss >", "is not understood"),
        ("p99_latency > fast", "is not understood"),
        ("p99_latency > 5parsecs", "is no unit"),
        ("p99_latency > 50ms for ever", "is no duration"),
        ("p99_latency > 50ms for 5MB", "is no duration"),
        ("p99_latency > 50ms for", "is not understood"),
        ("throughput drops 130%", "at most 100%"),
        ("throughput drops", "is not understood"),
        ("throughput drops 30", "is not understood"),
    ],
)
def test_what_is_no_alert(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse_alert(text)
    assert repr(text) in str(caught.value)
