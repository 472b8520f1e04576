"""Takes the numbers that profiled processes tell, ``live/…/metrics-NNNNN.jsonl``, into the run's counters."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from deepseek_prof.interfaces import CounterSample
from deepseek_prof.recording.part_files import write_parquet
from deepseek_prof.trace.schema import COUNTERS

MetricSink: TypeAlias = Callable[[CounterSample], None]
"""Takes values as they arrive, each once."""

_PERIOD_S = 5.0
"""While a process runs, its file is written anew this often at most."""
_MAX_NAME = 300


@dataclass(frozen=True)
class ProgramSample(CounterSample):
    """A value that a profiled process told: its file is the converter's, which ``recover`` can complete."""


class ProgramMetrics:
    """The metrics of all processes of a run.

    The file made of a live one has a name of its own and is replaced as a whole, so that a conversion that is cut short
    neither loses nor repeats a value: ``counters/rank=R/<process>-metrics-NNNNN.parquet``.
    """

    def __init__(self, run_dir: Path, sink: MetricSink | None = None) -> None:
        self._counters = run_dir / "counters"
        self._sink = sink
        self._read_bytes: dict[Path, int] = {}
        self._samples: dict[Path, list[ProgramSample]] = {}
        self._due_s: dict[Path, float] = {}
        self._rank: dict[Path, int] = {}
        self._unwritten: set[Path] = set()

    def convert(self, live: Path, rank: int, *, final: bool) -> None:
        """Take what is new in the folder of a process; with ``final`` write all of it. Raises OSError."""
        for path in sorted(live.glob("metrics-*.jsonl")):
            fresh = list(self._new(path, rank))
            if fresh:
                self._samples.setdefault(path, []).extend(fresh)
                self._unwritten.add(path)
                if self._sink is not None:
                    for sample in fresh:
                        self._sink(sample)
            elif self._rank.get(path, rank) != rank:  # told late
                self._unwritten.add(path)
            if path in self._unwritten and (final or time.monotonic() >= self._due_s.get(path, 0.0)):
                self._write(path, rank)
                self._unwritten.remove(path)
                self._due_s[path] = time.monotonic() + _PERIOD_S

    def _new(self, path: Path, rank: int) -> Iterator[ProgramSample]:
        with path.open("rb") as file:
            file.seek(self._read_bytes.get(path, 0))
            data = file.read()
        end = data.rfind(b"\n") + 1  # the line that is being written waits for its end
        self._read_bytes[path] = self._read_bytes.get(path, 0) + end
        for line in data[:end].splitlines():
            sample = parse_metric(line, rank)
            if sample is not None:
                yield sample

    def _write(self, path: Path, rank: int) -> None:
        name = f"{path.parent.name}-{path.stem}.parquet"
        rows = [{key: getattr(sample, key) for key in COUNTERS.names} for sample in self._samples[path]]
        write_parquet(self._counters / f"rank={rank}" / name, pa.Table.from_pylist(rows, schema=COUNTERS))
        if self._rank.setdefault(path, rank) != rank:
            (self._counters / f"rank={self._rank[path]}" / name).unlink(missing_ok=True)
        self._rank[path] = rank


def parse_metric(line: bytes, rank: int) -> ProgramSample | None:
    """A line of a live file; None for one that is cut off or is no metric."""
    try:
        data = json.loads(line)
        ts_ns, name, value = data["ts_ns"], data["name"], data["value"]
        unit, device = data["unit"], data["device"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    known = isinstance(ts_ns, int) and 0 <= ts_ns < 1 << 63 and isinstance(value, float)
    if not known or not all(isinstance(text, str) for text in (name, unit, device)):
        return None
    return ProgramSample(ts_ns, rank, device[:_MAX_NAME], name[:_MAX_NAME], value, unit[:_MAX_NAME])
