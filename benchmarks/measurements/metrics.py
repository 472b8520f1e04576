"""What serving metrics adds to a recorded program that is scraped all the while, and how soon a scrape is answered."""

from __future__ import annotations

import random
import socket
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measurements.overhead import StepCount
from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import Arm, Session

_BAR = 1.005
_BAR_MS = 20.0
_SCRAPE_S = 1.0
"""Prometheus asks every 15 s by default, and hardly anybody more often than each second."""
PLAIN = Arm("recorded", ("--record", "ops"))
CONTROL = Arm("recorded again", ("--record", "ops"))


@dataclass(frozen=True)
class Metrics:
    """The same recorded training with and without the endpoint, in turns; a scrape a second of the one that has it."""

    name: str = "metrics"
    title: str = "Metrics served to Prometheus, tiny transformer training, one thread, a scrape a second"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run every arm once."""
        steps = StepCount(2, 200) if session.quick else StepCount(100, 1000)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        served = Arm("served", (*(PLAIN.run_options or ()), "--metrics-port", str(port)))
        arms = [PLAIN, CONTROL, served]
        random.Random(index).shuffle(arms)
        sample: dict[str, float] = {}
        for arm in arms:
            scraper = Scraper(port) if arm is served else None
            try:
                run = session.run_program("tiny_transformer", steps.options, arm)
            finally:
                answers_s = scraper.stop() if scraper is not None else []
            sample[f"{arm.name}: step_s"] = float(run.figures["step_s"])
            if scraper is not None:
                if not answers_s:
                    raise BenchmarkError("no scrape was answered")
                sample["answer_ms"] = median(answers_s) * 1e3
                sample["slowest_ms"] = max(answers_s) * 1e3
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the ratio to the same recording without the endpoint, and the times of the answers."""
        return present(
            _ratio(samples, CONTROL.name, None, "A/A control: the noise"),
            _ratio(samples, "served", _BAR, "--metrics-port, a scrape a second"),
            row(samples, lambda sample: sample["answer_ms"], "answer to a scrape, median", "ms", bar=_BAR_MS),
            row(samples, lambda sample: sample["slowest_ms"], "answer to a scrape, slowest of a run", "ms"),
        )


def _ratio(samples: Sequence[Sample], name: str, bar: float | None, reference: str) -> Row | None:
    return row(
        samples,
        lambda sample: sample[f"{name}: step_s"] / sample["recorded: step_s"],
        f"{name} / recorded",
        "x",
        bar=bar,
        reference=reference,
    )


class Scraper:
    """Asks once a second on a thread of its own; counted is what is answered while the program is under way."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._ended = threading.Event()
        self._answers_s: list[float] = []
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> list[float]:
        """How long each answer took, in seconds."""
        self._ended.set()
        self._thread.join()
        return self._answers_s

    def _work(self) -> None:
        while not self._ended.wait(_SCRAPE_S):
            begin = time.perf_counter()
            try:
                with urllib.request.urlopen(self._url, timeout=10) as response:
                    text = response.read()
            except OSError:
                continue
            if b"step_latency" in text:  # the program is under way
                self._answers_s.append(time.perf_counter() - begin)
