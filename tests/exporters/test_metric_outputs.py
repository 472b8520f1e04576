"""Metrics outside: Prometheus' text read by its own parser, OTLP as a receiver gets it, and names that are data."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deepseek_prof.errors import UsageError
from deepseek_prof.exporters.metric_names import exported
from deepseek_prof.exporters.otlp import OtlpSender, metrics_endpoint
from deepseek_prof.exporters.prometheus import PrometheusServer
from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.metric_hub import MetricHub
from tests.support.otlp import Receiver

HOSTILE = 'a"b\\c\nd{e="f"} \ud800 é'


@pytest.fixture
def hub() -> MetricHub:
    return MetricHub()


@pytest.fixture
def server(hub: MetricHub) -> Iterator[PrometheusServer]:
    serving = PrometheusServer(hub, "127.0.0.1", 0)
    yield serving
    serving.close()


def scraped(server: PrometheusServer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples by name and labels."""
    with urllib.request.urlopen(server.url) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_base_units_and_labels(hub: MetricHub, server: PrometheusServer) -> None:
    hub.publish("step_latency_p99", 5e6, "ns", rank=3, ts_ns=1)
    hub.publish("power", 300, "W", device="cuda:0", ts_ns=1)
    hub.publish("cpu", 50, "percent", ts_ns=1)
    hub.publish("throughput_steps", 2, "1/s", ts_ns=1)
    hub.publish("throughput_steps", 4, "1/s", ts_ns=2)
    hub.publish("loss", 0.25, "", ts_ns=1)
    cpu = (("device", "cpu"), ("rank", "0"))
    assert scraped(server) == {
        ("deepseek_prof_step_latency_p99_seconds", (("device", "cpu"), ("rank", "3"))): pytest.approx(0.005),
        ("deepseek_prof_power_watts", (("device", "cuda:0"), ("rank", "0"))): 300,
        ("deepseek_prof_cpu_ratio", cpu): 0.5,
        ("deepseek_prof_throughput_steps_per_second", cpu): 4,
        ("deepseek_prof_loss", cpu): 0.25,
    }


def test_names_of_the_program_are_data(hub: MetricHub, server: PrometheusServer) -> None:
    hub.publish(HOSTILE, 1, HOSTILE, device=HOSTILE, ts_ns=1)
    hub.publish("train/loss", 2, "", ts_ns=1)
    hub.publish("train.loss", 3, "", ts_ns=1)
    hub.publish("", 4, "", ts_ns=1)
    found = scraped(server)
    assert sorted(found.values()) == [1, 2, 3, 4]
    labels = {value: dict(labels) for (_, labels), value in found.items()}
    assert labels[1]["name"] == labels[1]["device"] == HOSTILE.replace("\ud800", "?")
    assert (labels[2]["name"], labels[3]["name"]) == ("train/loss", "train.loss")


def test_values_that_are_no_numbers(hub: MetricHub, server: PrometheusServer) -> None:
    hub.publish("loss", float("nan"), "", ts_ns=1)
    hub.publish("norm", float("-inf"), "", ts_ns=1)
    found = {name: value for (name, _), value in scraped(server).items()}
    assert found["deepseek_prof_loss"] != found["deepseek_prof_loss"]
    assert found["deepseek_prof_norm"] == float("-inf")


def test_a_port_in_use_is_told(hub: MetricHub, server: PrometheusServer) -> None:
    port = int(server.url.rsplit(":", 1)[1].partition("/")[0])
    with pytest.raises(UsageError, match=f"127.0.0.1:{port}.*in use.*--metrics-port"):
        PrometheusServer(hub, "127.0.0.1", port)


def test_an_address_that_is_not_ours_is_told(hub: MetricHub) -> None:
    with pytest.raises(UsageError, match="--metrics-host"):
        PrometheusServer(hub, "192.0.2.1", 0)


def test_a_unit_is_not_said_twice() -> None:
    assert exported(CounterSample(1, 0, "cpu", "dram_bytes", 1, "bytes")).name == "deepseek_prof_dram_bytes"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiving = Receiver()
    yield receiving
    receiving.close()


def test_otlp_arrives_in_a_receiver(hub: MetricHub, receiver: Receiver) -> None:
    warnings: list[str] = []
    hub.publish("rss", 1024, "bytes", device="host", ts_ns=1)  # before anybody subscribed
    sender = OtlpSender(hub, receiver.url, warnings.append)
    hub.publish("step_latency_p99", 5e6, "ns", rank=1, ts_ns=1)
    hub.publish("train/loss", 0.5, "", ts_ns=1)
    hub.publish("train/loss", 0.25, "", ts_ns=2)
    sender.close()
    assert {path for path, _ in receiver.requests} == {"/v1/metrics"}
    assert receiver.points() == {
        ("deepseek_prof_rss_bytes", "host", "0"): (1024, "By"),
        ("deepseek_prof_step_latency_p99_seconds", "cpu", "1"): (pytest.approx(0.005), "s"),
        ("deepseek_prof_train_loss", "cpu", "0"): (0.25, "1"),
    }
    resource = receiver.requests[0][1].resource_metrics[0].resource
    assert {each.key: each.value.string_value for each in resource.attributes}["service.name"] == "deepseek-prof"
    assert warnings == []


def test_a_receiver_that_is_gone_is_told_and_nothing_else(hub: MetricHub, receiver: Receiver) -> None:
    warnings: list[str] = []
    url = receiver.url
    sender = OtlpSender(hub, url.replace("127.0.0.1", "localhost.invalid"), warnings.append)
    hub.publish("loss", 1, "", ts_ns=1)
    sender.close()
    assert warnings
    assert all(text.startswith("--otlp: ") for text in warnings)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/metrics"),
        ("https://example.com/", "https://example.com/v1/metrics"),
        ("http://localhost:4318/otlp/v1/metrics", "http://localhost:4318/otlp/v1/metrics"),
    ],
)
def test_a_base_address_gets_the_metrics_path(given: str, used: str) -> None:
    assert metrics_endpoint(given) == used


@pytest.mark.parametrize("text", ["", "localhost:4318", "ftp://x", "http://", "http://x:port", "http://[x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        metrics_endpoint(text)


@pytest.mark.parametrize(
    ("name", "unit", "exported_name"),
    [
        ("wait", "µs", "deepseek_prof_wait_seconds"),
        ("price", "€", "deepseek_prof_price"),
        ("n" * 200, "u" * 200, f"deepseek_prof_{'n' * 150}_{'u' * 63}"),
    ],
)
def test_names_and_units_that_otlp_refuses_do_not_reach_it(
    hub: MetricHub, receiver: Receiver, name: str, unit: str, exported_name: str
) -> None:
    """The SDK raises where a sample is published: on the thread that records."""
    sender = OtlpSender(hub, receiver.url, pytest.fail)
    hub.publish(name, 2.0, unit, device="program", ts_ns=1)
    sender.close()
    assert [key for key, _, _ in receiver.points()] == [exported_name]
