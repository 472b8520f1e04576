"""What the dynamic batcher brings under open-loop load, against one call at a time: one thread, a 4-layer BERT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import Row, Sample, present, row
from benchmarks.session import Arm, Session

LEAST = 1.4
CHANCES = 3
"""Loads of one rate, of which one has to hold; a machine that stands still for a moment spoils one."""
HELD = f"the highest rate of which one of {CHANCES} loads held"


@dataclass(frozen=True)
class DynamicBatching:
    """A round is one process that looks for the highest rate of both, in turns, and then overloads the batcher."""

    mix: str
    tokens: str
    max_rounds: int | None = 9
    in_default_set: bool = False

    @property
    def name(self) -> str:
        """What ``--only`` takes."""
        return f"dynamic-batcher-{self.mix}"

    @property
    def title(self) -> str:
        """The table's heading."""
        return f"Dynamic batcher: 4-layer BERT, {self.tokens}, Poisson load, p99 within 10 × a call alone, one thread"

    def measure_round(self, session: Session, index: int) -> Sample:
        """The figures of the program. Raises BenchmarkError where it fails, or finds no rate that holds."""
        options = ("--seconds", "0.5", "--trials", "3") if session.quick else ("--seconds", "2.5", "--trials", "6")
        whole = (*options, "--chances", str(CHANCES), "--seed", str(index), "--mix", self.mix)
        run = session.run_program("dynamic_batcher", whole, Arm("bare"))
        return {name: float(value) for name, value in run.figures.items() if name != "end_monotonic_ns"}

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the two rates, their ratio, what became of twice the rate, and memory."""
        return present(
            row(samples, lambda sample: sample["single_s"] * 1e3, "a call alone, mean", "ms"),
            row(samples, lambda sample: sample["single_per_s"], "one at a time", "requests/s", reference=HELD),
            row(samples, lambda sample: sample["batcher_per_s"], "dynamic batcher", "requests/s", reference=HELD),
            row(
                samples,
                lambda sample: sample["single_per_s"] / sample["batcher_per_s"],
                "one at a time / dynamic batcher",
                "",
                bar=1 / LEAST,
                reference=f"bar: {LEAST} × the requests of one at a time",
            ),
            row(
                samples,
                lambda sample: sample["overload_rejected"] / sample["overload_sent"] * 100,
                "twice its rate: rejected",
                "%",
            ),
            row(samples, lambda sample: sample["overload_lost"], "twice its rate: lost", "requests", bar=0.0),
            row(
                samples,
                lambda sample: sample["overload_p99_s"] / sample["single_s"],
                "twice its rate: p99 of the accepted / a call alone",
                "",
                bar=10.0,
            ),
            row(samples, lambda sample: sample["single_peak_bytes"] / 2**20, "one at a time: peak memory", "MiB"),
            row(samples, lambda sample: sample["batcher_peak_bytes"] / 2**20, "dynamic batcher: peak memory", "MiB"),
        )


DYNAMIC_BATCHER = (
    DynamicBatching("queries", "4 to 32 tokens (median 10)"),
    DynamicBatching("sentences", "4 to 64 tokens (median 16)"),
)
