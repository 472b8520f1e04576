"""A run of 10 M records: what is left to do when the program has ended, the disk it takes, the memory of the child.

The program is the tiny transformer, so that names, layers and durations are those of a real training. Kineto's figures
come from the same rounds at some 300,000 events and are stated per event.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measurements.overhead import OPS
from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import Arm, ProgramRun, Session, directory_size_bytes

PROGRAM = "tiny_transformer"
# 5,259 operators a step: 10.5 M and 1.05 M records.
LONG_STEPS = 2_000
SHORT_STEPS = 200
QUICK_LONG_STEPS = 40
QUICK_SHORT_STEPS = 4
WARM_UP_STEPS = 1
KINETO_STEPS = 55
QUICK_KINETO_STEPS = 3
LONG_RUN_SPANS = 10_000_000


def record_long_run(session: Session) -> ProgramRun:
    """Record the long run and keep its directory as ``session.long_run_dir`` in place of an earlier one."""
    steps = QUICK_LONG_STEPS if session.quick else LONG_STEPS
    run = session.run_program(PROGRAM, _options(steps), OPS, keep=True)
    if run.spans < LONG_RUN_SPANS and not session.quick:
        raise BenchmarkError(f"the long run holds {run.spans} spans, fewer than {LONG_RUN_SPANS}")
    if session.long_run_dir is not None:
        shutil.rmtree(session.long_run_dir)
    session.long_run_dir = run.run_dir
    return run


@dataclass(frozen=True)
class LongRun:
    """End of run, disk and memory of one recorded program, with the bare program beside it."""

    name: str = "long-run"
    title: str = "A run of 10 M records"
    max_rounds: int | None = 3
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run bare and recorded programs of 1 M and 10 M records, and one under Kineto."""
        long_steps = QUICK_LONG_STEPS if session.quick else LONG_STEPS
        short_steps = QUICK_SHORT_STEPS if session.quick else SHORT_STEPS
        kineto_steps = QUICK_KINETO_STEPS if session.quick else KINETO_STEPS
        kineto = Arm("kineto", None, ("--kineto",))
        sample: dict[str, float] = {}

        def bare_long() -> None:
            run = session.run_program(PROGRAM, _options(long_steps), Arm("bare"))
            sample["bare 10 M: peak_rss_bytes"] = run.figures["peak_rss_bytes"]
            sample["bare 10 M: after_exit_s"] = run.after_exit_s

        def bare_short() -> None:
            run = session.run_program(PROGRAM, _options(short_steps), Arm("bare"))
            sample["bare 1 M: peak_rss_bytes"] = run.figures["peak_rss_bytes"]

        def recorded_long() -> None:
            run = record_long_run(session)
            assert run.run_dir is not None
            sample["ops 10 M: peak_rss_bytes"] = run.figures["peak_rss_bytes"]
            sample["ops 10 M: after_exit_s"] = run.after_exit_s
            sample["ops 10 M: spans"] = run.spans
            sample["ops 10 M: disk_bytes"] = directory_size_bytes(run.run_dir)

        def recorded_short() -> None:
            run = session.run_program(PROGRAM, _options(short_steps), OPS)
            sample["ops 1 M: peak_rss_bytes"] = run.figures["peak_rss_bytes"]

        def under_kineto() -> None:
            run = session.run_program(PROGRAM, _options(kineto_steps), kineto)
            sample["kineto: stop_s"] = run.figures["kineto_stop_s"]
            sample["kineto: events"] = run.figures["kineto_events"]
            sample["kineto: peak_rss_bytes"] = run.figures["kineto_peak_rss_bytes"]

        arms = [bare_long, bare_short, recorded_long, recorded_short]
        if session.wants(kineto):
            arms.append(under_kineto)
        random.Random(index).shuffle(arms)
        for arm in arms:
            arm()
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the rows with bars, then the bare program's and Kineto's figures beside them."""

        def memory(size: str) -> Row | None:
            return row(
                samples,
                lambda sample: (sample[f"ops {size}: peak_rss_bytes"] - sample[f"bare {size}: peak_rss_bytes"]) / 2**20,
                f"child memory above bare, {size} records",
                "MiB",
                bar=64,
                reference="peak resident size, mapped segments included",
            )

        return present(
            row(samples, lambda sample: sample["ops 10 M: spans"], "spans recorded", ""),
            row(
                samples,
                lambda sample: sample["ops 10 M: after_exit_s"],
                "program's last statement to our exit",
                "s",
                reference="--quiet; Python's own exit included",
            ),
            row(samples, lambda sample: sample["bare 10 M: after_exit_s"], "the same, bare program", "s"),
            row(
                samples,
                lambda sample: sample["ops 10 M: after_exit_s"] - sample["bare 10 M: after_exit_s"],
                "end of run after the program's own exit",
                "s",
                bar=1.0,
                reference="the difference of the two",
            ),
            row(
                samples,
                lambda sample: sample["ops 10 M: disk_bytes"] / sample["ops 10 M: spans"],
                "disk a span, whole run directory",
                "B",
                bar=10,
            ),
            memory("1 M"),
            memory("10 M"),
            row(
                samples,
                lambda sample: sample["kineto: stop_s"] / sample["kineto: events"] * 1e6,
                "kineto: stop, an event",
                "µs",
                reference="times 10 M: seconds at the end of such a run",
            ),
            row(
                samples,
                lambda sample: (
                    (sample["kineto: peak_rss_bytes"] - sample["bare 1 M: peak_rss_bytes"]) / sample["kineto: events"]
                ),
                "kineto: memory above bare, an event",
                "B",
            ),
        )


def _options(steps: int) -> tuple[str, ...]:
    return ("--warm-up", str(WARM_UP_STEPS), "--steps", str(steps))
