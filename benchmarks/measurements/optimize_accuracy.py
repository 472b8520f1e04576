"""What int8 and bfloat16 cost in results, on networks that have learned something."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.measurements.optimize_networks import INT8, LOWERED, Combination
from benchmarks.results import BenchmarkError, Row, Sample, present, row
from benchmarks.session import Session
from deepseek_prof.optimizer.candidate import CandidateError, Target, prepared

_PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
_TIMEOUT_S = 1800.0
_DRAWS = 2000


def measured(target: Target, passes: Combination) -> dict[str, Any]:
    """What a candidate says of itself, its metric included. Raises BenchmarkError."""
    try:
        candidate, answer = prepared(target, passes, _TIMEOUT_S)
    except CandidateError as error:
        raise BenchmarkError(str(error)) from error
    candidate.close()
    if answer["status"] != "ready":
        raise BenchmarkError(str(answer["reason"]))
    return dict(answer)


@dataclass(frozen=True)
class Agreement:
    """Held-out images to which a pass gives another class than eager does, of a ResNet-50 that has learned digits."""

    passes: Combination
    max_rounds: int | None = 1
    in_default_set: bool = False

    @property
    def name(self) -> str:
        """What ``--only`` takes."""
        return "-".join(["optimize-top1", *(name for name, _ in self.passes)])

    @property
    def title(self) -> str:
        """The table's heading."""
        return f"Optimizer: classes of 200 held-out digits, ResNet-50, {' + '.join(name for name, _ in self.passes)}"

    def measure_round(self, session: Session, index: int) -> Sample:
        """The share of images with eager's class. Raises BenchmarkError."""
        argv = (sys.executable, str(_PROGRAMS / "digits_resnet.py"), str(session.work_dir / "digits.pt"))
        # It learns in a process of its own: the network that learned would be another root of the same class.
        learning = subprocess.run(argv, check=False, capture_output=True, text=True)
        if learning.returncode:
            raise BenchmarkError(f"{self.name}: {learning.stderr[-2000:]}")
        target = Target(argv, "ResNetForImageClassification", 8, False, metric="digits_resnet:agreement")
        eager, agreement = measured(target, self.passes)["metric"]
        return {"eager": eager, "agreement": agreement}

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return the share of images with another class."""
        return present(
            row(samples, lambda sample: round(100 * (1 - sample["agreement"]), 6), "another class", "%", bar=1.0)
        )


@dataclass(frozen=True)
class Retrieval:
    """Sentences that find their own topic by a small BERT with trained weights, in int8 against float32, paired."""

    name: str = "optimize-retrieval"
    title: str = "Optimizer: sentences that find their topic, all-MiniLM-L6-v2, quantize"
    max_rounds: int | None = 1
    in_default_set: bool = False

    def measure_round(self, session: Session, index: int) -> Sample:
        """Both accuracies, and their difference with its paired bootstrap interval. Raises BenchmarkError."""
        hits = session.work_dir / f"hits-{index}.jsonl"
        target = Target(
            (sys.executable, str(_PROGRAMS / "retrieval.py")),
            "BertModel",
            8,
            False,
            metric="retrieval:accuracy",
            environment=(("RETRIEVAL_HITS", str(hits)),),
        )
        measured(target, INT8)
        eager, int8 = (json.loads(line) for line in hits.read_text(encoding="utf-8").splitlines())
        lost = [a - b for a, b in zip(eager, int8, strict=True)]
        draw = random.Random(index)
        drawn = sorted(mean(draw.choices(lost, k=len(lost))) for _ in range(_DRAWS))
        return {
            "sentences": float(len(eager)),
            "eager": mean(eager),
            "int8": mean(int8),
            "lost": mean(lost),
            "low": drawn[int(0.025 * _DRAWS)],
            "high": drawn[int(0.975 * _DRAWS)],
        }

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Return both accuracies and what is lost, in percent of all sentences."""
        return present(
            row(samples, lambda sample: sample["sentences"], "sentences", ""),
            row(samples, lambda sample: 100 * sample["eager"], "find their topic, float32", "%"),
            row(samples, lambda sample: 100 * sample["int8"], "find their topic, int8", "%"),
            row(samples, lambda sample: 100 * sample["lost"], "lost", "%", bar=0.7),
            row(samples, lambda sample: 100 * sample["low"], "lost, lower end of 95 %", "%"),
            row(samples, lambda sample: 100 * sample["high"], "lost, upper end of 95 %", "%"),
        )


AGREEMENTS = (Agreement(LOWERED), Agreement(INT8))
