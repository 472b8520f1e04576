"""What a collector in the parent process implements; register one in ``collectors/__init__.py``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class CounterSample:
    """One value of a counter. ``ts_ns``: nanoseconds since the Unix epoch."""

    ts_ns: int
    rank: int
    device: str
    name: str
    value: float
    unit: str


class ProcessSampler(Protocol):
    """Samples the recorded processes from outside, in the parent; what it finds goes to their folders in ``live/``."""

    name: str

    def poll(self, live: Path) -> None:
        """Begin with processes that are new under ``live``. Called a few times a second. Raises OSError."""

    def finish(self, live: Path) -> None:
        """The program has ended: complete what there is. Raises OSError."""


class CounterCollector(Protocol):
    """Samples something beside the running program, in the parent."""

    name: str
    interval_s: float
    warnings: list[str]
    """What it can tell no longer, a line each; whoever reads them takes them out."""

    def sample(self, root_pid: int, ranks: Mapping[int, int]) -> Iterable[CounterSample]:
        """The present values.

        Args:
            root_pid: the process that the user's command became.
            ranks: the rank of each recorded process, by process id.
        """
