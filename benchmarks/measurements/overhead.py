"""Steady-state time of a program's steps under each arm, as a ratio to the bare program of the same round."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.results import Row, Sample, present, row
from benchmarks.session import Arm, Session

BARE = Arm("bare")
# The same program again: what the ratio of two equal arms looks like is the noise of every other ratio.
CONTROL = Arm("bare again")
OPS = Arm("ops", ("--record", "ops"))
BUDGET = Arm("budget", ("--overhead-budget", "3%"))


@dataclass(frozen=True)
class StepCount:
    """Steps that are left out and steps that are timed."""

    warm_up: int
    timed: int

    @property
    def options(self) -> tuple[str, ...]:
        """The program's options for these counts."""
        return ("--warm-up", str(self.warm_up), "--steps", str(self.timed))


@dataclass(frozen=True)
class Overhead:
    """A measurement of overhead: every arm is a fresh process, all arms of a round in shuffled order.

    ``options`` are the program's. ``bars`` and ``references`` are by arm name. ``kineto_steps`` is smaller than
    ``steps``, because Kineto keeps some 1.5 KB an event in memory until the end.
    """

    name: str
    title: str
    program: str
    steps: StepCount
    quick_steps: StepCount
    kineto_steps: StepCount
    arms: tuple[Arm, ...]
    options: tuple[str, ...] = ()
    max_rounds: int | None = None
    bars: Mapping[str, float] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    in_default_set: bool = True

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run every arm once."""
        control = () if session.quick else (CONTROL,)  # of a smoke run, nobody asks for the noise
        arms = [arm for arm in (BARE, *control, *self.arms, self._kineto(session)) if session.wants(arm)]
        random.Random(index).shuffle(arms)
        sample: dict[str, float] = {}
        for arm in arms:
            steps = self.quick_steps if session.quick else self.steps
            # The options of an arm come last, so that the Kineto arm's smaller counts win.
            run = session.run_program(self.program, (*steps.options, *self.options), arm)
            sample[f"{arm.name}: step_s"] = float(run.figures["step_s"])
            if run.run_dir is not None:
                sample[f"{arm.name}: spans a step"] = run.spans / int(run.figures["steps"])
            if "kineto_events" in run.figures:
                events = int(run.figures["kineto_events"])
                sample["kineto: events a step"] = events / int(run.figures["kineto_steps"])
                sample["kineto: stop_us"] = float(run.figures["kineto_stop_s"]) / events * 1e6
        return sample

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return bare step time, A/A control, one ratio an arm, and the sizes that the ratios depend on."""
        names = (CONTROL.name, *(arm.name for arm in self.arms), "kineto")
        ratios = (self._ratio(samples, name) for name in names)
        return present(
            row(samples, lambda sample: sample["bare: step_s"] * 1e3, "bare step", "ms"),
            *ratios,
            row(samples, lambda sample: sample["ops: spans a step"], "spans a step, ops", ""),
            row(
                samples,
                lambda sample: sample["bare: step_s"] / sample["ops: spans a step"] * 1e6,
                "bare time a record",
                "µs",
            ),
            row(
                samples,
                lambda sample: (sample["ops: step_s"] - sample["bare: step_s"]) / sample["ops: spans a step"] * 1e6,
                "ops: cost of a record, layers included",
                "µs",
            ),
            row(
                samples,
                lambda sample: sample["bare: step_s"] / sample["kineto: events a step"] * 1e6,
                "bare time an operator (Kineto's count)",
                "µs",
            ),
            row(samples, lambda sample: sample["kineto: stop_us"], "kineto: stop, an event", "µs"),
        )

    def _ratio(self, samples: Sequence[Sample], name: str) -> Row | None:
        return row(
            samples,
            lambda sample: sample[f"{name}: step_s"] / sample["bare: step_s"],
            f"{name} / bare",
            "x",
            bar=self.bars.get(name),
            reference=self.references.get(name, ""),
        )

    def _kineto(self, session: Session) -> Arm:
        steps = self.quick_steps if session.quick else self.kineto_steps
        return Arm("kineto", None, ("--kineto", *steps.options))
