"""Writes a complete, finished run directory of any size, without torch and without a recording."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepseek_prof.model import SCHEMA_VERSION, Kind, Phase
from deepseek_prof.trace import schema
from deepseek_prof.trace.run_file import write_run_file
from tests.support.synthetic_step import Context, StepTemplate, context_hash, transformer_step

EPOCH_NS = 1_790_000_000_000_000_000
FIRST_PID = 4_200
PART_ROWS = 350_000


@dataclass(frozen=True)
class SyntheticRun:
    """What was written: ``spans_per_step`` leaves the step's own span out."""

    path: Path
    spans: int
    steps: int
    spans_per_step: int
    ranks: int
    step_ns: int
    """Length of an average step."""


def write_synthetic_run(
    run_dir: Path,
    *,
    steps: int,
    layers: int = 12,
    ranks: int = 1,
    data_us: int = 120,
    warmup: tuple[float, ...] = (4.0, 1.8),
    slow: dict[int, float] | None = None,
    jitter: float = 0.04,
    with_layers: bool = True,
    with_steps: bool = True,
    with_counters: bool = True,
    evicted_steps: int = 0,
    seed: int = 7,
    info: dict[str, Any] | None = None,
) -> SyntheticRun:
    """A finished run of a transformer training with ``steps`` steps.

    ``warmup`` and ``slow`` (step -> factor) stretch steps; the first ``evicted_steps`` steps stand only in ``sums/``;
    ``info`` overrides keys of ``run.json``; ``process`` in it overrides keys of every process.
    Figures are the same for the same arguments. About 102 spans a layer and step, 2 M spans a second.
    """
    step_template = transformer_step(layers, data_us=data_us, with_layers=with_layers)
    rng = np.random.default_rng(seed)
    step_context = Context(
        context_hash(None, "step", "other", "step"), None, 0, "step", "step", "other", None, Phase.OTHER.label
    )
    contexts = [*step_template.contexts.values(), *([step_context] if with_steps else [])]
    written = 0
    ended_ns = EPOCH_NS
    for rank in range(ranks):
        pid = FIRST_PID + rank
        factors = rng.normal(1.0, jitter, steps).clip(0.8, 1.4)
        for step, factor in (*enumerate(warmup[: max(0, steps - 1)]), *(slow or {}).items()):
            factors[step] *= factor
        starts_ns = EPOCH_NS + np.concatenate(([0], np.cumsum(_scaled(step_template.now_ns, factors))))
        _write_contexts(run_dir, rank, pid, contexts)
        written += _write_spans(run_dir, rank, pid, step_template, factors, starts_ns, with_steps, evicted_steps)
        if with_steps:
            written += _write_steps(run_dir, rank, pid, step_context.context_id, starts_ns)
        if with_counters:
            _write_counters(run_dir, rank, int(starts_ns[0]), int(starts_ns[-1]))
        ended_ns = max(ended_ns, int(starts_ns[-1]))
    size_bytes = sum(path.stat().st_size for path in run_dir.glob("spans/**/*.parquet"))
    write_run_file(
        run_dir,
        _run_info(
            run_dir, ranks, ended_ns, written, size_bytes, evicted_steps * len(step_template.parents), info or {}
        ),
    )
    return SyntheticRun(run_dir, written, steps, len(step_template.parents), ranks, step_template.now_ns)


def _scaled(offset_ns: int, factors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = np.floor(offset_ns * factors).astype(np.int64)
    return scaled


def _write_contexts(run_dir: Path, rank: int, pid: int, contexts: list[Context]) -> None:
    path = run_dir / "contexts" / f"rank={rank}" / f"pid={pid}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([asdict(each) for each in contexts], schema=schema.CONTEXTS), path)


def _step_block(template: StepTemplate, factors: np.ndarray, starts_ns: np.ndarray) -> dict[str, np.ndarray]:
    """start, dur and self of every span of some steps, each of shape (spans, steps); scaling keeps the nesting."""
    offsets = np.asarray(template.starts_ns)[:, None]
    start = np.floor(offsets * factors).astype(np.int64)
    dur = np.floor(np.asarray(template.ends_ns)[:, None] * factors).astype(np.int64) - start
    own = dur.copy()
    for index, parent in enumerate(template.parents):
        if parent >= 0:
            own[parent] -= dur[index]
    return {"start_ns": start + starts_ns, "dur_ns": dur, "self_ns": own}


def _write_spans(
    run_dir: Path,
    rank: int,
    pid: int,
    template: StepTemplate,
    factors: np.ndarray,
    starts_ns: np.ndarray,
    with_steps: bool,
    evicted_steps: int,
) -> int:
    folder = run_dir / "spans" / f"rank={rank}" / f"pid={pid}"
    folder.mkdir(parents=True, exist_ok=True)
    by_end = np.lexsort((-np.asarray(template.starts_ns), np.asarray(template.ends_ns)))
    context_ids = np.asarray(template.context_ids, dtype=np.int64)
    steps = len(factors)
    if evicted_steps:
        block = _step_block(template, factors[:evicted_steps], starts_ns[:evicted_steps])
        _write_sums(run_dir, rank, pid, context_ids, block)
    steps_a_part = max(1, PART_ROWS // len(context_ids))
    for part, first in enumerate(range(evicted_steps, steps, steps_a_part)):
        chosen = slice(first, min(first + steps_a_part, steps))
        block = _step_block(template, factors[chosen], starts_ns[:-1][chosen])
        count = chosen.stop - chosen.start
        step = np.repeat(np.arange(chosen.start, chosen.stop, dtype=np.int32), len(context_ids))
        columns: dict[str, Any] = {name: values[by_end].T.ravel() for name, values in block.items()}
        columns["tid"] = np.full(len(step), pid, dtype=np.int64)
        columns["step"] = step if with_steps else pa.nulls(len(step), pa.int32())
        columns["context_id"] = np.tile(context_ids[by_end], count)
        _write_table(folder / f"part-{part:05d}.parquet", columns, len(step))
    return (steps - evicted_steps) * len(context_ids)


def _write_steps(run_dir: Path, rank: int, pid: int, context_id: int, starts_ns: np.ndarray) -> int:
    dur = np.diff(starts_ns)
    count = len(dur)
    columns: dict[str, Any] = {
        "tid": np.zeros(count, dtype=np.int64),
        "step": np.arange(count, dtype=np.int32),
        "start_ns": starts_ns[:-1],
        "dur_ns": dur,
        "self_ns": dur,
        "context_id": np.full(count, context_id, dtype=np.int64),
    }
    _write_table(run_dir / "spans" / f"rank={rank}" / f"pid={pid}" / "steps-00000.parquet", columns, count)
    return count


def _write_table(path: Path, columns: dict[str, Any], rows: int) -> None:
    arrays = [
        pa.array(columns[field.name], type=field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema.SPANS
    ]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema.SPANS),
        path,
        compression="zstd",
        use_dictionary=["tid", "step", "context_id", "device", "stream", "bytes", "flops", "shapes"],
        column_encoding=dict.fromkeys(("start_ns", "dur_ns", "self_ns"), "DELTA_BINARY_PACKED"),
    )


def _write_sums(run_dir: Path, rank: int, pid: int, context_ids: np.ndarray, block: dict[str, np.ndarray]) -> None:
    unique, group = np.unique(context_ids, return_inverse=True)
    sums = {name: np.zeros(len(unique), dtype=np.int64) for name in ("count", "dur_ns", "self_ns", "max_dur_ns")}
    np.add.at(sums["count"], group, block["dur_ns"].shape[1])
    np.add.at(sums["dur_ns"], group, block["dur_ns"].sum(axis=1))
    np.add.at(sums["self_ns"], group, block["self_ns"].sum(axis=1))
    np.maximum.at(sums["max_dur_ns"], group, block["dur_ns"].max(axis=1))
    path = run_dir / "sums" / f"rank={rank}" / f"pid={pid}" / "part-00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"tid": np.full(len(unique), pid, dtype=np.int64), "context_id": unique, **sums}
    pq.write_table(pa.Table.from_pydict(columns, schema=schema.SUMS), path)


def _write_counters(run_dir: Path, rank: int, start_ns: int, end_ns: int) -> None:
    moments = np.linspace(start_ns, end_ns, 64).astype(np.int64)
    ramp = np.minimum(np.arange(64), 24) / 24.0
    rows = [
        {"ts_ns": int(ts), "device": "cpu", "name": name, "value": float(value), "unit": unit}
        for ts, share in zip(moments, ramp, strict=True)
        for name, value, unit in (("rss", 210e6 + 340e6 * share, "bytes"), ("cpu", 92.0 + 5.0 * share, "percent"))
    ]
    path = run_dir / "counters" / f"rank={rank}" / "part-00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema.COUNTERS), path)


def _run_info(
    run_dir: Path, ranks: int, ended_ns: int, spans: int, size_bytes: int, evicted: int, changes: dict[str, Any]
) -> dict[str, Any]:
    process = {
        "ppid": FIRST_PID - 1,
        "world_size": ranks if ranks > 1 else None,
        "start_ns": EPOCH_NS,
        "argv": ["train.py"],
        "python": "3.12.3",
        "torch": "2.13.0+cpu",
        "recorder": "native",
        "recorder_reason": "",
        "intra_op_threads": 1,
        "inter_op_threads": 1,
        "events": spans // ranks,
        "overhead": {
            "operator_ns": 180,
            "layer_ns": 900,
            "total_ns": 190 * (spans // ranks),
            "method": "calibrated at start: cost of an empty operator with and without the recorder",
        },
        "dropped_spans": 0,
        "warnings": [],
        "layers": 9 * 12,
        "optimizers": [{"class": "AdamW", "foreach": None, "fused": None}],
    }
    process |= changes.pop("process", {}) if "process" in changes else {}
    settings = {"record": "ops", "steps": None, "overhead_budget": None, "recorder": "auto"}
    return {
        "schema_version": SCHEMA_VERSION,
        "id": f"{run_dir.name}-0f3a",
        "name": run_dir.name,
        "script": "train.py",
        "command": ["python", "train.py"],
        "cwd": "/home/user/project",
        "python": "3.12.3",
        "created_ns": EPOCH_NS,
        "ended_ns": ended_ns,
        "status": "finished",
        "exit_code": 0,
        "signal": None,
        "host": {"hostname": "host", "cpu_count": 8, "memory_bytes": 32 << 30, "platform": "Linux-6.1-x86_64"},
        "clock": {"monotonic_ns": 1_000_000_000, "epoch_ns": EPOCH_NS},
        "settings": settings,
        "packages": {"deepseek_prof": "0.1.0", "torch": "2.13.0+cpu"},
        "processes": [
            {**process, "pid": FIRST_PID + rank, "rank": rank, "local_rank": rank, "is_main": rank == 0}
            for rank in range(ranks)
        ],
        "spans": {"count": spans, "size_bytes": size_bytes},
        "dropped": [{"pid": FIRST_PID, "reason": "max-size", "spans": evicted}] if evicted else [],
        "warnings": [],
        **changes,
    }


__all__ = ["EPOCH_NS", "FIRST_PID", "Kind", "SyntheticRun", "write_synthetic_run"]
