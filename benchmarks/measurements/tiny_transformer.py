"""The worst case: a tiny transformer in training on one thread, about 5,000 records a step.

The bars are for 1.2 µs a record. What batch that takes depends on the machine, and on a shared one on the hour: it is
looked for before the first round. Batch 2 is denser still, and outside the default set (``--only
tiny-transformer-dense``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.measurements.overhead import BARE, BUDGET, CONTROL, OPS, Overhead, StepCount
from benchmarks.results import Row, Sample, present, row
from benchmarks.session import Arm, Session

RECORD_S = 1.2e-6
BATCHES = (2, 4, 6, 8, 12, 16)
_PROBES = 3
_PROBE_STEPS = StepCount(warm_up=50, timed=150)

_OVERHEAD = Overhead(
    name="tiny-transformer",
    title="Tiny transformer training, one thread: ~1.2 µs a record",
    program="tiny_transformer",
    steps=StepCount(warm_up=100, timed=500),
    quick_steps=StepCount(warm_up=2, timed=5),
    kineto_steps=StepCount(warm_up=100, timed=60),
    arms=(OPS, BUDGET),
    bars={OPS.name: 1.20, BUDGET.name: 1.05},
    references={
        CONTROL.name: "A/A control: the noise",
        OPS.name: "--record ops, layers on; aim 1.12",
        BUDGET.name: "--overhead-budget 3%",
        "kineto": "torch.profiler, CPU activities, no layers",
    },
)


@dataclass(frozen=True)
class TinyTransformer:
    """The overhead at the batch whose bare time a record is nearest to ``RECORD_S``."""

    name: str = _OVERHEAD.name
    title: str = _OVERHEAD.title
    max_rounds: int | None = None
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run every arm once; before the first round also what finds the batch."""
        batch = session.found.get(self.name)
        if batch is None:
            batch = session.found[self.name] = BATCHES[0] if session.quick else _batch(session)
        overhead = replace(_OVERHEAD, options=("--batch", str(batch)))
        return {**overhead.measure_round(session, index), "batch": batch}

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return those of the overhead, and the batch."""
        return (*_OVERHEAD.rows(samples), *present(row(samples, lambda sample: sample["batch"], "batch", "")))


def _batch(session: Session) -> int:
    recorded = session.run_program(_OVERHEAD.program, _OVERHEAD.quick_steps.options, OPS)
    spans_a_step = recorded.spans / int(recorded.figures["steps"])
    times_s = {batch: median(_step_s(session, batch) for _ in range(_PROBES)) for batch in BATCHES}
    return min(BATCHES, key=lambda batch: abs(times_s[batch] / spans_a_step - RECORD_S))


def _step_s(session: Session, batch: int) -> float:
    arm = Arm(BARE.name, program_options=("--batch", str(batch)))
    return float(session.run_program(_OVERHEAD.program, _PROBE_STEPS.options, arm).figures["step_s"])


TINY_TRANSFORMER = TinyTransformer()

TINY_TRANSFORMER_DENSE = replace(
    _OVERHEAD,
    name="tiny-transformer-dense",
    title="The same with batch 2",
    options=("--batch", "2"),
    bars={},
    in_default_set=False,
)
