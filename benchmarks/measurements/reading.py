"""What reading a run of 10 M spans costs: ``report`` and ``top --by layer``, each a whole process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measurements.long_run import PROGRAM, record_long_run
from benchmarks.results import Row, Sample, present, row
from benchmarks.session import Arm, Session, deepseek_prof

KINETO_STEPS = 15
QUICK_KINETO_STEPS = 1


@dataclass(frozen=True)
class Reading:
    """Whole-process time of the two commands that a user types first, on the long run."""

    name: str = "reading"
    title: str = "Reading a run of 10 M spans"
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run both commands once; in the first round, time Kineto's ``key_averages()`` too, which takes seconds."""
        if session.long_run_dir is None:
            record_long_run(session)
        run_dir = str(session.long_run_dir)
        sample = {
            "report_s": session.run_command([*deepseek_prof(), "report", run_dir]).wall_s,
            "top_s": session.run_command([*deepseek_prof(), "top", run_dir, "--by", "layer"]).wall_s,
        }
        kineto = Arm("kineto", None, ("--kineto", "--key-averages"))
        if index == 0 and session.wants(kineto):
            steps = QUICK_KINETO_STEPS if session.quick else KINETO_STEPS
            figures = session.run_program(PROGRAM, ("--warm-up", "1", "--steps", str(steps)), kineto).figures
            sample["kineto_us"] = figures["kineto_key_averages_s"] / figures["kineto_events"] * 1e6
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return one row a command."""
        return present(
            row(samples, lambda sample: sample["report_s"], "report, whole process", "s", bar=1.5),
            row(samples, lambda sample: sample["top_s"], "top --by layer, whole process", "s"),
            row(
                samples,
                lambda sample: sample["kineto_us"],
                "kineto: key_averages(), an event",
                "µs",
                reference="times 10 M: seconds for the like of one table",
            ),
        )
