"""What single passes bring on ResNet-50, ResNet-152 and BERT-base: one thread, interleaved with eager."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import Session
from deepseek_prof.optimizer.candidate import CandidateError, Target, prepared
from deepseek_prof.optimizer.rounds import time_together
from deepseek_prof.optimizer.timing import ratio

PROGRAM = Path(__file__).resolve().parents[1] / "programs" / "optimize_networks.py"
Combination: TypeAlias = tuple[tuple[str, dict[str, Any]], ...]
"""Names of passes and their options."""

FUSED: Combination = (("fuse", {"freezing": True}),)
LOWERED: Combination = (("amp", {}), *FUSED)
INT8: Combination = (("quantize", {}),)
_TIMEOUT_S = 900.0
_ROUNDS = 20


@dataclass(frozen=True)
class Networks:
    """One network under one combination of passes; a round is a candidate, an eager process and a control."""

    network: str
    root: str
    passes: Combination
    least: float
    """The bar: the speed-up that the lower end of the interval must reach."""
    max_rounds: int | None = 1
    in_default_set: bool = False

    @property
    def name(self) -> str:
        """What ``--only`` takes."""
        return "-".join(["optimize", self.network, *(name for name, _ in self.passes)])

    @property
    def title(self) -> str:
        """The table's heading."""
        return f"Optimizer: {self.network}, {' + '.join(name for name, _ in self.passes)}, one thread"

    def measure_round(self, session: Session, index: int) -> Sample:
        """The speed-up with its interval, the A/A control, and the difference to eager. Raises BenchmarkError."""
        argv = (sys.executable, str(PROGRAM), self.network)
        target = Target(argv, self.root, 1, False, environment=(("OMP_NUM_THREADS", "1"),))
        with ExitStack() as stack:
            try:
                made = [prepared(target, passes, _TIMEOUT_S) for passes in ((), (), self.passes)]
                processes = [stack.enter_context(process) for process, _ in made]
                answer = made[-1][1]
                if answer["status"] != "ready":
                    raise BenchmarkError(f"{self.name}: {answer['reason']}")
                taken = time_together(processes, 5 if session.quick else _ROUNDS, index, _TIMEOUT_S)
            except CandidateError as error:
                raise BenchmarkError(f"{self.name}: {error}") from error
        eager, control, candidate = (each.samples for each in taken)
        found, noise = ratio(eager, candidate), ratio(eager, control)
        return {
            "speedup": found.median,
            "low": found.low,
            "high": found.high,
            "noise": noise.spread,
            "sqnr_db": answer["numerics"]["sqnr_db"],
            "accurate": float(answer["inaccurate"] is None),
            "prepare_s": answer["compile_ns"] / 1e9,
        }

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the time against eager, whose upper end is held to the bar, and what it costs."""
        return present(
            row(samples, lambda sample: sample["speedup"], "speed-up, median", "×"),
            row(
                samples,
                lambda sample: 1 / sample["low"],
                "time / eager, upper end of 95 %",
                "",
                bar=1 / self.least,
                reference=f"bar: {self.least} × eager",
            ),
            row(samples, lambda sample: sample["noise"], "eager / eager, farther end of 95 %", "×"),
            row(samples, lambda sample: sample["sqnr_db"], "signal to noise against eager", "dB"),
            row(samples, lambda sample: sample["prepare_s"], "applied and compiled in", "s"),
        )


_RESNET = "ResNetForImageClassification"
NETWORKS = (
    Networks("resnet50", _RESNET, FUSED, 1.9),
    Networks("resnet50", _RESNET, LOWERED, 3.2),
    Networks("resnet50", _RESNET, INT8, 3.2),
    Networks("resnet152", _RESNET, FUSED, 1.9),
    Networks("resnet152", _RESNET, LOWERED, 3.2),
    Networks("resnet152", _RESNET, INT8, 3.2),
    Networks("bert-base", "BertModel", INT8, 4.0),
)
