"""Python stacks summed over the samples of a run, by stack and by what the recorder saw around each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepseek_prof.errors import UsageError
from deepseek_prof.trace.run import Condition, Run
from deepseek_prof.trace.stack_text import split_stack

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class StackSum:
    """Samples of one stack in one place of the program."""

    frames: tuple[str, ...]
    """Root first, each ``function (file:line)``."""
    layer: str | None
    op: str | None
    """The operator that ran; None where Python ran between operators."""
    phase: str | None
    """``layer``, ``op`` and ``phase`` are None for samples that no recorded span covers."""
    count: int
    ns: int
    """Wall time: ``count`` times the sampling period."""


def period_ns(run: Run) -> int:
    """Time that one sample of ``run`` stands for; 0 where it was recorded without Python stacks."""
    stacks = run.info.get("stacks")
    rate_hz = stacks.get("rate_hz") if isinstance(stacks, dict) else None
    return round(1e9 / rate_hz) if isinstance(rate_hz, int | float) and rate_hz > 0 else 0


def stack_sums(run: Run, condition: Condition | None = None) -> list[StackSum]:
    """The samples that ``condition``, made for ``Table.SAMPLES``, selects (None: all), the largest sums first.

    Empty where the run holds no samples.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    where, params = ("TRUE", ()) if condition is None else (condition.sql, condition.params)
    rows = run.rows(
        f"SELECT stack, layer, name, phase, count(*) AS count FROM samples WHERE {where} "
        "GROUP BY stack, layer, name, phase ORDER BY count DESC, stack, layer, name, phase",
        params,
    )
    period = period_ns(run)
    return [
        StackSum(split_stack(stack), layer, op, phase, count, count * period) for stack, layer, op, phase, count in rows
    ]


def require_samples(run: Run) -> None:
    """Raises UsageError unless ``run`` was recorded with Python stacks."""
    if not period_ns(run):
        raise UsageError(f"{run.name} holds no Python stacks. Record them: deepseek-prof run --python-stacks train.py")


class SampledFrames:
    """Finds what Python did at some time on some thread of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._threads: dict[tuple[int, int, int], tuple[Any, pa.ChunkedArray]] = {}

    def within(self, rank: int, pid: int, tid: int, start_ns: int, dur_ns: int) -> str | None:
        """The innermost frame of the first sample in this time; None where none was taken."""
        key = (rank, pid, tid)
        if key not in self._threads:
            table = self._run.table(
                "SELECT ts_ns, split_part(stack, ';', -1) AS frame FROM samples WHERE rank = ? AND pid = ? AND tid = ? "
                "ORDER BY ts_ns",
                key,
            )
            self._threads[key] = (table["ts_ns"].to_numpy(), table["frame"])
        moments, frames = self._threads[key]
        index = int(moments.searchsorted(start_ns))
        if index == len(moments) or moments[index] >= start_ns + dur_ns:
            return None
        return split_stack(frames[index].as_py())[-1]
