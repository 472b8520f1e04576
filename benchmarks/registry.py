"""The list of measurements, in the order in which they run and stand in the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchmarks.measurements.bert_base import BERT_BASE
from benchmarks.measurements.dynamic_batcher import DYNAMIC_BATCHER
from benchmarks.measurements.exporting import Exporting
from benchmarks.measurements.flame import Flame
from benchmarks.measurements.importing import Importing
from benchmarks.measurements.live import Live, LiveAge
from benchmarks.measurements.long_run import LongRun
from benchmarks.measurements.metrics import Metrics
from benchmarks.measurements.optimize_accuracy import AGREEMENTS, Retrieval
from benchmarks.measurements.optimize_false_wins import FALSE_WINS
from benchmarks.measurements.optimize_networks import NETWORKS
from benchmarks.measurements.querying import QUERYING_10M, QUERYING_100M
from benchmarks.measurements.reading import Reading
from benchmarks.measurements.resnet18 import RESNET18
from benchmarks.measurements.stacks import PYTHON_STACKS
from benchmarks.measurements.start_up import StartUp
from benchmarks.measurements.tiny_transformer import TINY_TRANSFORMER, TINY_TRANSFORMER_DENSE
from benchmarks.measurements.tui import Tui
from benchmarks.results import Row, Sample
from benchmarks.session import Session


class Measurement(Protocol):
    """One measurement: the runner calls ``measure_round`` for every round, so that Ctrl-C loses one round at most."""

    @property
    def name(self) -> str:
        """What ``--only`` takes."""

    @property
    def title(self) -> str:
        """The table's heading of this measurement."""

    @property
    def max_rounds(self) -> int | None:
        """Fewer rounds than asked for, where a round takes minutes and the figure hardly varies."""

    @property
    def in_default_set(self) -> bool:
        """Whether it runs without ``--only``."""

    def measure_round(self, session: Session, index: int) -> Sample:
        """Run every arm once and return the raw figures. Raises BenchmarkError."""

    def rows(self, samples: Sequence[Sample]) -> tuple[Row, ...]:
        """Turn the rounds so far into table rows."""


MEASUREMENTS: tuple[Measurement, ...] = (
    StartUp(),
    TINY_TRANSFORMER,
    TINY_TRANSFORMER_DENSE,
    RESNET18,
    BERT_BASE,
    LongRun(),
    Reading(),
    QUERYING_10M,
    QUERYING_100M,
    Flame(),
    Tui(),
    Live(),
    LiveAge(),
    Metrics(),
    Importing(),
    Exporting(),
    PYTHON_STACKS,
    FALSE_WINS,
    *NETWORKS,
    *AGREEMENTS,
    Retrieval(),
    *DYNAMIC_BATCHER,
)
