"""Metrics of real runs in progress: served, watched, and written into the run."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.otlp import Receiver
from tests.support.recording import TIMEOUT_S, cli_command, environment, open_run, run_cli, write_program

TRAINS_UNTIL_TOLD = """
    import pathlib, sys, time
    import torch
    net = torch.nn.Sequential(torch.nn.Embedding(100, 8), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    while not pathlib.Path(sys.argv[1]).exists():
        net(torch.zeros(4, 10, dtype=torch.int64)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        time.sleep(0.005)
"""
SERVES = """
    import time
    import torch
    net = torch.nn.Linear(8, 1)
    loss = torch.nn.MSELoss()
    end = time.monotonic() + 2.5
    with torch.no_grad():
        while time.monotonic() < end:
            net(torch.ones(3, 8))
            time.sleep(0.01)
"""
EXPECTED = {
    "deepseek_prof_rss_bytes",
    "deepseek_prof_cpu_ratio",
    "deepseek_prof_step_latency_p50_seconds",
    "deepseek_prof_step_latency_p90_seconds",
    "deepseek_prof_step_latency_p99_seconds",
    "deepseek_prof_throughput_steps_per_second",
    "deepseek_prof_throughput_samples_per_second",
    "deepseek_prof_throughput_tokens_per_second",
}


class Training:
    """A recorded training in progress, its metrics served on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = write_program(folder, TRAINS_UNTIL_TOLD)
        self._stop = folder / "stop"
        self.run_dir = folder / "run"
        words = ["run", "--output", str(self.run_dir), "--metrics-port", "0", *options, str(program), str(self._stop)]
        self._process = subprocess.Popen(cli_command(*words), cwd=folder, env=environment(), stderr=subprocess.PIPE)
        self.narration = ""
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._serving.wait(TIMEOUT_S), self.narration
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics", self.narration)
        assert found, self.narration
        self.url = found[0]

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.narration += line.decode()
            if "/metrics" in self.narration:
                self._serving.set()
        self._serving.set()

    def scrape(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Labels and values by metric."""
        with urllib.request.urlopen(self.url, timeout=TIMEOUT_S) as response:
            text = response.read().decode()
        return {
            family.name: [(sample.labels, sample.value) for sample in family.samples]
            for family in text_string_to_metric_families(text)
        }

    def scrape_all(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """A scrape that holds all that a training has."""
        end_s = time.monotonic() + TIMEOUT_S
        while True:
            found = self.scrape()
            if found.keys() >= EXPECTED:
                return found
            assert time.monotonic() < end_s, f"missing: {EXPECTED - found.keys()}"
            time.sleep(0.1)

    def end(self) -> int:
        """Let the program end; returns our exit status."""
        self._stop.touch()
        status = self._process.wait(TIMEOUT_S)
        self._reader.join()
        return status

    def kill(self) -> None:
        self._stop.touch()
        if self._process.poll() is None:
            self._process.wait(TIMEOUT_S)
        self._reader.join()


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Training]:
    started = Training(tmp_path, "--alert", "throughput > 0.001", "--alert", "cpu < 0%", "--alert-exit-status", "9")
    yield started
    started.kill()


def test_a_run_in_progress_is_served_watched_and_written(training: Training) -> None:
    found = training.scrape_all()
    assert all(labels["rank"] == "0" and "device" in labels for samples in found.values() for labels, _ in samples)
    [(_, steps)] = found["deepseek_prof_throughput_steps_per_second"]
    [(_, samples)] = found["deepseek_prof_throughput_samples_per_second"]
    [(_, tokens)] = found["deepseek_prof_throughput_tokens_per_second"]
    assert 0 < steps < 200
    assert tokens == pytest.approx(10 * samples)
    [(_, p50)], [(_, p99)] = (found[f"deepseek_prof_step_latency_{name}_seconds"] for name in ("p50", "p99"))
    assert 0.005 * 0.99 <= p50 <= p99
    assert training.end() == 9
    with open_run(training.run_dir) as run:
        units = dict(run.rows("SELECT DISTINCT name, unit FROM counters"))
        assert units["throughput_samples"] == "1/s"
        assert units["step_latency_p99"] == "ns"
        alerts = run.rows("SELECT event, fields FROM logs WHERE event LIKE 'alert%'")
    assert [event for event, _ in alerts] == ["alert_fired"]
    assert json.loads(alerts[0][1])["metric"] == "throughput_steps"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(training.url)


def test_calls_of_a_root_are_requests(tmp_path: Path) -> None:
    program = write_program(tmp_path, SERVES)
    ended = run_cli("run", "--output", str(tmp_path / "run"), "--alert-exit-status", "9", str(program), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr.decode()
    with open_run(tmp_path / "run") as run:
        rows = dict(run.rows("SELECT name, avg(value) FROM counters GROUP BY name"))
        calls = run.rows("SELECT median(dur_ns) FROM spans WHERE kind = 'layer'")
    assert rows["request_latency_p50"] == pytest.approx(calls[0][0], rel=0.5)
    assert rows["step_latency_p50"] >= 10e6
    assert rows["throughput_samples"] == pytest.approx(3 * rows["throughput_steps"], rel=0.25)
    assert "throughput_tokens" not in rows


@pytest.mark.parametrize("recorder", ["native", "kineto"])
def test_both_recorders_count_inputs(recorder: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, SERVES)
    ended = run_cli("run", "--recorder", recorder, "--output", str(tmp_path / "run"), str(program), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr.decode()
    with open_run(tmp_path / "run") as run:
        assert run.rows("SELECT count(*) > 0 FROM counters WHERE name = 'throughput_samples'") == [(True,)]


def test_a_port_in_use_ends_it_before_the_program_starts(tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run_cli("run", "--metrics-port", port, str(program), cwd=tmp_path)
    assert ended.returncode == 2
    assert port in ended.stderr.decode()
    assert not (tmp_path / "started").exists()
    assert not (tmp_path / ".deepseek-prof").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--alert", "loss is purple"], "not understood"),
        (["--metrics-port", "99999"], "0 to 65535"),
        (["--alert-exit-status", "0"], "1 to 255"),
        (["--otlp", "nowhere"], "is no address"),
    ],
)
def test_what_cannot_be_ends_it_before_the_program_starts(options: list[str], problem: str, tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')")
    ended = run_cli("run", *options, str(program), cwd=tmp_path)
    assert ended.returncode == 2
    assert problem in " ".join(ended.stderr.decode().split())
    assert not (tmp_path / "started").exists()


def test_a_failing_program_keeps_its_exit_status(tmp_path: Path) -> None:
    program = write_program(tmp_path, "import torch, sys\ntorch.ones(1) + 1\nsys.exit(5)")
    options = ("--alert", "rss > 0", "--alert-exit-status", "9", "--output", str(tmp_path / "run"))
    assert run_cli("run", *options, str(program), cwd=tmp_path).returncode == 5


def test_a_missing_otlp_package_names_the_extra(tmp_path: Path) -> None:
    program = write_program(tmp_path, "open('started', 'w')")
    blocked = tmp_path / "blocked" / "opentelemetry"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('blocked')")
    command = run_cli(
        "run", "--otlp", "http://127.0.0.1:1", str(program), cwd=tmp_path, env={"PYTHONPATH": str(blocked.parent)}
    )
    assert command.returncode == 2
    assert "deepseek-prof[otlp]" in command.stderr.decode()
    assert not (tmp_path / "started").exists()


def test_a_run_sends_its_metrics_over_otlp(tmp_path: Path) -> None:
    program = write_program(tmp_path, SERVES)
    receiver = Receiver()
    try:
        ended = run_cli("run", "--otlp", receiver.url, "--output", str(tmp_path / "run"), str(program), cwd=tmp_path)
    finally:
        receiver.close()
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"warning" not in ended.stderr
    points = receiver.points()
    assert points["deepseek_prof_request_latency_p99_seconds", "cpu", "0"][1] == "s"
    with open_run(tmp_path / "run") as run:
        [(last,)] = run.rows("SELECT arg_max(value, ts_ns) FROM counters WHERE name = 'throughput_steps'")
    assert points["deepseek_prof_throughput_steps_per_second", "cpu", "0"][0] == pytest.approx(last)
