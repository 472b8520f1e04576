"""Samples the registered counters while the program runs, and writes all metrics to
``counters/rank=R/part-NNNNN.parquet``."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from deepseek_prof.interfaces import CounterCollector, CounterSample
from deepseek_prof.recording.event_files import RecordingEvents
from deepseek_prof.recording.metric_hub import MetricHub
from deepseek_prof.recording.part_files import write_parquet
from deepseek_prof.recording.program_metrics import ProgramSample
from deepseek_prof.trace.schema import COUNTERS

_FLUSH_SHARE, _MIN_FLUSH_S, _MAX_FLUSH_S = 0.1, 1.0, 60.0
"""A part is written each tenth of the run's age: soon for who looks on, and yet few parts."""


class CounterWriter:
    """Asks each collector at its own interval, publishes what it says, and writes whatever the hub tells.

    ``poll`` and ``close`` raise OSError when a file cannot be written.
    """

    def __init__(
        self, run_dir: Path, root_pid: int, collectors: Sequence[CounterCollector], hub: MetricHub | None = None
    ) -> None:
        self._run_dir = run_dir
        self._root_pid = root_pid
        self._events = RecordingEvents(run_dir)
        self._due_s = {collector: time.monotonic() for collector in collectors}
        self._hub = hub or MetricHub()
        self._samples: list[CounterSample] = []
        self._hub.subscribe(self._take)
        self._parts = 0
        self._began_s = time.monotonic()
        self._flush_s = self._began_s + _MIN_FLUSH_S
        self._ranks: dict[str, tuple[int, int]] = {}

    def poll(self) -> None:
        """Take what is due."""
        now_s = time.monotonic()
        due = [collector for collector, due_s in self._due_s.items() if due_s <= now_s]
        if due:
            ranks = self._rank_of_processes()
            for collector in due:
                self._due_s[collector] = now_s + collector.interval_s
                self._sample(collector, ranks)
        if now_s >= self._flush_s:
            self.close()
            age_s = now_s - self._began_s
            self._flush_s = now_s + min(_MAX_FLUSH_S, max(_MIN_FLUSH_S, _FLUSH_SHARE * age_s))

    def _sample(self, collector: CounterCollector, ranks: dict[int, int]) -> None:
        """What a collector cannot tell is told once as an event; one that fails is asked no more."""
        try:
            for sample in collector.sample(self._root_pid, ranks):
                self._hub.publish_sample(sample)
        except Exception as error:  # noqa: BLE001  # a driver's library may raise anything; the recording goes on
            del self._due_s[collector]
            collector.warnings.append(f"{collector.name} stopped: {type(error).__name__}: {error}")
        for message in collector.warnings:
            self._events.emit("warning", "collector_failed", {"message": message})
        collector.warnings.clear()

    def close(self) -> None:
        """Write what has been taken since the last part."""
        by_rank: dict[int, list[CounterSample]] = defaultdict(list)
        taken = self._samples[:]
        for sample in taken:
            by_rank[sample.rank].append(sample)
        for rank, samples in by_rank.items():
            folder = self._run_dir / "counters" / f"rank={rank}"
            folder.mkdir(parents=True, exist_ok=True)
            rows = [{key: getattr(sample, key) for key in COUNTERS.names} for sample in samples]
            write_parquet(folder / f"part-{self._parts:05d}.parquet", pa.Table.from_pylist(rows, schema=COUNTERS))
        del self._samples[: len(taken)]  # written now: after a full disk they are still here
        self._parts += bool(by_rank)

    def _take(self, sample: CounterSample) -> None:
        if not isinstance(sample, ProgramSample):  # the converter writes those
            self._samples.append(sample)  # atomic: other threads may publish

    def _rank_of_processes(self) -> dict[int, int]:
        """From the descriptions under ``live/``; those of processes that are gone are kept."""
        for path in (self._run_dir / "live").glob("*/process.json"):
            modified_ns = path.stat().st_mtime_ns
            known = self._ranks.get(path.parent.name)
            if known is None or known[0] != modified_ns:
                try:
                    rank = json.loads(path.read_text(encoding="utf-8")).get("rank")
                except ValueError:
                    continue  # half of it is on the disk; the converter tells of a damaged one
                self._ranks[path.parent.name] = (modified_ns, rank if isinstance(rank, int) else 0)
        return {int(name.partition("-")[0]): rank for name, (_, rank) in self._ranks.items() if name[0].isdigit()}
