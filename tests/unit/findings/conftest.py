"""Runs made of hand-drawn steps, opened and summed up as the rules see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepseek_prof.analysis.findings import Evidence, gather
from deepseek_prof.analysis.summary import summarize
from deepseek_prof.model import SCHEMA_VERSION, Kind, Phase
from deepseek_prof.trace import schema
from deepseek_prof.trace.run import Run
from tests.support.synthetic_step import StepTemplate

EPOCH_NS = 1_790_000_000_000_000_000
PID = 4200

Draw = Callable[[StepTemplate, int], None]
Record = Callable[..., Evidence]


def _table(rows: list[dict[str, Any]], columns: pa.Schema, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), path)


def _write_process(run_dir: Path, rank: int, draw: Draw, steps: int, *, start_ns: int, with_steps: bool) -> int:
    """Write what ``draw`` draws, step after step from ``start_ns``; returns the end."""
    pid = PID + rank
    contexts: dict[int, Any] = {}
    spans: list[dict[str, Any]] = []
    now_ns = start_ns
    for step in range(steps):
        template = StepTemplate()
        draw(template, step)
        contexts |= template.contexts
        own = [end - start for start, end in zip(template.starts_ns, template.ends_ns, strict=True)]
        durations = tuple(own)
        for index, parent in enumerate(template.parents):
            if parent >= 0:
                own[parent] -= durations[index]
        spans += [
            {
                "tid": pid,
                "step": step if with_steps else None,
                "start_ns": now_ns + template.starts_ns[index],
                "dur_ns": durations[index],
                "self_ns": own[index],
                "context_id": context_id,
            }
            for index, context_id in enumerate(template.context_ids)
        ]
        if with_steps:
            marker = StepTemplate()
            step_context = marker.context(None, Kind.STEP, Phase.OTHER, "step", None)
            contexts |= marker.contexts
            spans.append(
                {
                    "tid": 0,
                    "step": step,
                    "start_ns": now_ns,
                    "dur_ns": template.now_ns,
                    "self_ns": template.now_ns,
                    "context_id": step_context,
                }
            )
        now_ns += template.now_ns
    _table(
        [asdict(each) for each in contexts.values()],
        schema.CONTEXTS,
        run_dir / f"contexts/rank={rank}/pid={pid}.parquet",
    )
    _table(spans, schema.SPANS, run_dir / f"spans/rank={rank}/pid={pid}/part-00000.parquet")
    return now_ns


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    """A function that writes a run of steps drawn by ``draw(template, step)`` and returns its evidence.

    ``others`` draws those of all processes but the first.
    """
    numbers = count()
    with ExitStack() as stack:

        def make(
            draw: Draw,
            *,
            steps: int = 12,
            ranks: int = 1,
            cpus: int = 8,
            process: dict[str, Any] | None = None,
            busy_cpus: float | None = None,
            with_steps: bool = True,
            one_after_another: bool = False,
            others: Draw | None = None,
            info: dict[str, Any] | None = None,
        ) -> Evidence:
            run_dir = tmp_path / f"run{next(numbers)}"
            run_dir.mkdir()
            ended_ns = EPOCH_NS
            lives: list[dict[str, int]] = []
            for rank in range(ranks):
                start_ns = ended_ns if one_after_another else EPOCH_NS
                ended_ns = _write_process(
                    run_dir, rank, others if rank and others else draw, steps, start_ns=start_ns, with_steps=with_steps
                )
                lives.append({"start_ns": start_ns, "ended_ns": ended_ns})
            if busy_cpus is not None:
                sample = {
                    "ts_ns": EPOCH_NS,
                    "device": "cpu",
                    "name": "cpu",
                    "value": 100 * busy_cpus,
                    "unit": "percent",
                }
                _table([sample], schema.COUNTERS, run_dir / "counters/rank=0/part-00000.parquet")
            processes = [
                {
                    "pid": PID + rank,
                    "rank": rank,
                    "is_main": True,
                    "intra_op_threads": 4,
                    **lives[rank],
                    **(process or {}),
                }
                for rank in range(ranks)
            ]
            described = {
                "schema_version": SCHEMA_VERSION,
                "id": "run",
                "name": "run",
                "status": "finished",
                "host": {"cpu_count": cpus},
                "settings": {},
                "processes": processes,
                **(info or {}),
            }
            (run_dir / "run.json").write_text(json.dumps(described))
            run = stack.enter_context(Run.open(run_dir))
            return gather(run, summarize(run))

        yield make
