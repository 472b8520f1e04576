"""What serving metrics adds to a recorded program that is scraped all the while, and how soon a scrape is answered.

Equal processes differ by more than the bar allows. It is therefore held against the steps of one process: those of
stretches with a scrape a second against those of the stretches beside them without. Outside scrapes the endpoint is a
thread that sleeps.
"""

from __future__ import annotations

import random
import shutil
import socket
import threading
import time
import urllib.request
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from statistics import fmean, median

import deepseek_prof
from benchmarks.measurements.overhead import StepCount
from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import Arm, Session

_BAR = 1.005
_BAR_MS = 20.0
_SCRAPE_S, _QUICK_SCRAPE_S = 1.0, 0.1
"""Prometheus asks every 15 s by default, and hardly anybody more often than each second."""
_SCRAPES = 2
"""Of a stretch. As long as these take, the stretch beside it is left alone."""


@dataclass(frozen=True)
class Metrics:
    """A recorded training with the endpoint, which is scraped at times."""

    name: str = "metrics"
    title: str = "Metrics served to Prometheus, tiny transformer training, one thread, a scrape a second"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run the program once, and compare its stretches."""
        steps = StepCount(2, 1000) if session.quick else StepCount(100, 4000)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        served = Arm("served", ("--record", "ops", "--metrics-port", str(port)))
        scraper = Scraper(port, random.Random(index), _QUICK_SCRAPE_S if session.quick else _SCRAPE_S)
        try:
            run = session.run_program("tiny_transformer", steps.options, served, keep=True)
        finally:
            scraper.stop()
        if not scraper.answers_s:
            raise BenchmarkError("no scrape was answered")
        assert run.run_dir is not None
        ratios = scraped_to_left_alone(_steps(run.run_dir, steps.warm_up), scraper.pairs)
        shutil.rmtree(run.run_dir)
        if not ratios:
            raise BenchmarkError("the program ended before a stretch with scrapes and one without")
        return {
            "scraped / left alone": median(ratios),
            "answer_ms": median(scraper.answers_s) * 1e3,
            "slowest_ms": max(scraper.answers_s) * 1e3,
        }

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the ratio, and how soon scrapes are answered."""
        return present(
            row(
                samples,
                lambda sample: sample["scraped / left alone"],
                "steps while scraped / steps beside them",
                "x",
                bar=_BAR,
                reference="--metrics-port, a scrape a second; means of recorded steps within one process",
            ),
            row(samples, lambda sample: sample["answer_ms"], "answer to a scrape, median", "ms", bar=_BAR_MS),
            row(samples, lambda sample: sample["slowest_ms"], "answer to a scrape, slowest of a run", "ms"),
        )


def _steps(run_dir: Path, warm_up: int) -> list[tuple[int, int]]:
    """Start on the Unix epoch and duration of each step but the first ones, in nanoseconds."""
    with deepseek_prof.load(run_dir) as run:
        found = run.spans("kind:step").select(["start_ns", "dur_ns"]).sort_by("start_ns")
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))[warm_up:]


@dataclass(frozen=True)
class Stretch:
    """From one moment to another on the Unix epoch, in nanoseconds, with scrapes in it or none."""

    start_ns: int
    end_ns: int
    scraped: bool


def scraped_to_left_alone(steps: Sequence[tuple[int, int]], pairs: Sequence[tuple[Stretch, Stretch]]) -> list[float]:
    """Mean duration of the steps in a stretch with scrapes over that in the one beside it, of each pair that has both.

    ``steps`` are start and duration in order of time; a step belongs to the stretch in which it starts and ends.
    """
    starts = [start_ns for start_ns, _ in steps]
    ratios = []
    for pair in pairs:
        means = {}
        for stretch in pair:
            inside = steps[bisect_left(starts, stretch.start_ns) : bisect_left(starts, stretch.end_ns)]
            durations = [dur_ns for start_ns, dur_ns in inside if start_ns + dur_ns <= stretch.end_ns]
            if durations:
                means[stretch.scraped] = fmean(durations)
        if len(means) == len(pair):
            ratios.append(means[True] / means[False])
    return ratios


class Scraper:
    """Asks at an interval on a thread of its own, then keeps still for as long, in pairs of stretches in random order.

    It begins when the program is under way.
    """

    def __init__(self, port: int, order: random.Random, interval_s: float) -> None:
        self.answers_s: list[float] = []
        self.pairs: list[tuple[Stretch, Stretch]] = []
        self._order = order
        self._interval_s = interval_s
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._interval_s):
            if b"step_latency" in self._scrape():
                break
        while not self._ended.is_set():
            first_scraped = self._order.random() < 0.5
            first, second = self._stretch(first_scraped), self._stretch(not first_scraped)
            if first is not None and second is not None:
                self.pairs.append((first, second))

    def _stretch(self, scraped: bool) -> Stretch | None:
        """None where it was cut short, or a scrape was not answered."""
        start_ns = time.time_ns()
        for _ in range(_SCRAPES):
            if scraped and not self._timed_scrape():
                return None
            if self._ended.wait(self._interval_s):
                return None
        return Stretch(start_ns, time.time_ns(), scraped)

    def _timed_scrape(self) -> bool:
        begin_s = time.perf_counter()
        answered = bool(self._scrape())
        if answered:
            self.answers_s.append(time.perf_counter() - begin_s)
        return answered

    def _scrape(self) -> bytes:
        try:
            with urllib.request.urlopen(self._url, timeout=10) as response:
                return bytes(response.read())
        except (OSError, HTTPException):
            return b""
