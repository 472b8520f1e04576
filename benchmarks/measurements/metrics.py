"""What serving metrics adds to a recorded program that is scraped all the while, and how soon a scrape is answered.

Equal processes differ by more than the bar allows. It is therefore held against the steps of one process: those of
stretches with a scrape a second against those of the stretches beside them without. Outside scrapes the endpoint is a
thread that sleeps; the ratio of whole processes, with and without it, is shown beside its noise.
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
PLAIN = Arm("recorded", ("--record", "ops"))
CONTROL = Arm("recorded again", ("--record", "ops"))


@dataclass(frozen=True)
class Metrics:
    """The same recorded training with and without the endpoint, in turns; the one that has it is scraped at times."""

    name: str = "metrics"
    title: str = "Metrics served to Prometheus, tiny transformer training, one thread, a scrape a second"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run every arm once."""
        steps = StepCount(2, 20) if session.quick else StepCount(100, 1000)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        served = Arm("served", (*(PLAIN.run_options or ()), "--metrics-port", str(port)))
        arms = [PLAIN, CONTROL, served]
        random.Random(index).shuffle(arms)
        sample: dict[str, float] = {}
        for arm in arms:
            if arm is served:
                sample |= _scraped(session, served, port, index)
            else:
                run = session.run_program("tiny_transformer", steps.options, arm)
                sample[f"{arm.name}: step_s"] = float(run.figures["step_s"])
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the ratio within a process, those to the same recording without the endpoint, and the answers."""
        return present(
            row(
                samples,
                lambda sample: sample["scraped / left alone"],
                "steps while scraped / steps beside them",
                "x",
                bar=_BAR,
                reference="--metrics-port, a scrape a second, within one process",
            ),
            _ratio(samples, "served", "another process with --metrics-port"),
            _ratio(samples, CONTROL.name, "A/A control: the noise between processes"),
            row(samples, lambda sample: sample["answer_ms"], "answer to a scrape, median", "ms", bar=_BAR_MS),
            row(samples, lambda sample: sample["slowest_ms"], "answer to a scrape, slowest of a run", "ms"),
        )


def _ratio(samples: Sequence[Sample], name: str, reference: str) -> Row | None:
    return row(
        samples,
        lambda sample: sample[f"{name}: step_s"] / sample["recorded: step_s"],
        f"{name} / recorded",
        "x",
        reference=reference,
    )


def _scraped(session: Session, served: Arm, port: int, index: int) -> Sample:
    steps = StepCount(2, 1000) if session.quick else StepCount(100, 4000)
    scraper = Scraper(port, random.Random(index), _QUICK_SCRAPE_S if session.quick else _SCRAPE_S)
    try:
        run = session.run_program("tiny_transformer", steps.options, served, keep=True)
    finally:
        scraper.stop()
    if not scraper.answers_s:
        raise BenchmarkError("no scrape was answered")
    assert run.run_dir is not None
    ratios = scraped_to_left_alone(_steps(run.run_dir, steps.warm_up), scraper.stretches)
    shutil.rmtree(run.run_dir)
    if not ratios:
        raise BenchmarkError("the program ended before a stretch with scrapes and one without")
    return {
        "served: step_s": float(run.figures["step_s"]),
        "scraped / left alone": median(ratios),
        "answer_ms": median(scraper.answers_s) * 1e3,
        "slowest_ms": max(scraper.answers_s) * 1e3,
    }


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


def scraped_to_left_alone(steps: Sequence[tuple[int, int]], stretches: Sequence[Stretch]) -> list[float]:
    """Mean duration of the steps in a stretch with scrapes over that in the one beside it; each stretch counts once.

    ``steps`` are start and duration in order of time; a step belongs to the stretch in which it starts and ends.
    """
    starts = [start_ns for start_ns, _ in steps]
    ratios = []
    for pair in zip(stretches[::2], stretches[1::2], strict=False):
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
        self.stretches: list[Stretch] = []
        self._order = order
        self._interval_s = interval_s
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. What was cut short counts as no stretch."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._interval_s):
            if b"step_latency" in self._scrape():
                break
        while not self._ended.is_set():
            first = self._order.random() < 0.5
            for scraped in (first, not first):
                start_ns = time.time_ns()
                for _ in range(_SCRAPES):
                    if scraped:
                        begin = time.perf_counter()
                        if self._scrape():
                            self.answers_s.append(time.perf_counter() - begin)
                    if self._ended.wait(self._interval_s):
                        return
                self.stretches.append(Stretch(start_ns, time.time_ns(), scraped))

    def _scrape(self) -> bytes:
        try:
            with urllib.request.urlopen(self._url, timeout=10) as response:
                return bytes(response.read())
        except OSError:
            return b""
