"""The optimizer's results: frozen, and as JSON exactly what ``--format json`` writes (docs/optimizing.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from deepseek_prof.optimizer.passes import defaults_of

if TYPE_CHECKING:
    from deepseek_prof.analysis.diff import DiffRow

Status: TypeAlias = Literal["win", "inconclusive", "slower", "inaccurate", "refused", "failed"]
"""Best first."""
UNUSABLE: tuple[Status, ...] = ("inaccurate", "refused", "failed")
"""There is no figure of these that counts."""


@dataclass(frozen=True)
class Figures:
    """What one process was measured to do. Times are of one call of the root module."""

    median_ns: float
    p99_ns: float
    calls: int
    calls_per_s: float
    peak_bytes: int
    """Most memory at once while it was timed: of the device, on the CPU the process's resident set."""
    model_bytes: int | None


@dataclass(frozen=True)
class OperatorChange:
    """Self time and count of an operator, over one call of each captured signature; 0 where it does not occur."""

    name: str
    before_ns: float
    after_ns: float
    before_count: float
    after_count: float


@dataclass(frozen=True)
class Comparison:
    """A call of eager beside a call of the candidate, from recordings of both: rows as those of ``diff``."""

    before: str
    """Run directory of eager's recording."""
    after: str
    layers: tuple[DiffRow, ...]
    operators: tuple[DiffRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """What was handed over, loaded in a fresh process and timed beside eager."""

    speedup: float
    interval: tuple[float, float]
    sqnr_db: float | None
    """Of its outputs against eager's; None where they are equal, and in training."""
    loss_difference: float | None = None
    """In training: largest difference of a step's loss from eager's, relative to the largest loss."""


@dataclass(frozen=True)
class HandOver:
    """The file that applies the winner, and packages compiled ahead of time, one for each of the signatures."""

    file: str
    check: Check
    packages: tuple[str, ...]
    package_check: Check | None
    no_package: str | None
    """Why there is no package."""


@dataclass(frozen=True)
class CandidateResult:
    """One row of the proof: a combination of passes, and what became of it."""

    passes: tuple[str, ...]
    options: tuple[dict[str, Any], ...]
    status: Status
    reason: str | None
    """Why it is no win; None for a win."""
    predicted: float
    """Speed-up that the profile let expect."""
    speedup: float | None = None
    """Eager's figure of the goal over the candidate's: the time of a call, or with the goal ``memory`` the peak."""
    interval: tuple[float, float] | None = None
    """Its 95 % interval."""
    control: tuple[float, float] | None = None
    """95 % interval of a second eager process against the first, in the same rounds (A/A)."""
    confirmed: bool = False
    """Measured a second time in fresh processes; the figures are of that measurement."""
    loss: float | None = None
    """Relative loss by the user's metric; without one, by top-1 agreement; None where there is neither, or the
    metric gave no finite number."""
    lossy: bool = False
    numerics: dict[str, Any] | None = None
    compile_ns: int | None = None
    break_even_calls: int | None = None
    fired: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kept_in_float: tuple[str, ...] = ()
    """Layers that a pass with fewer bits left as they were."""
    code: tuple[str, ...] = ()
    """Of each pass, plain torch statements that do the same to ``model``; ``calls`` are the captured inputs."""
    compiles: bool = False
    """Whether one of the passes compiles: what it makes can be compiled ahead of time, into packages."""
    figures: Figures | None = None
    baseline: Figures | None = None
    """Eager in the same rounds."""
    operators: tuple[OperatorChange, ...] = ()
    """What changed most, of a confirmed candidate."""
    comparison: Comparison | None = None
    """By layer and operator, of a confirmed candidate."""

    @property
    def label(self) -> str:
        """``fold + fuse mode=max-autotune``: the options that are not those of the pass by itself."""
        return " + ".join(
            " ".join([name, *(f"{key}={value}" for key, value in own.items() if value != defaults_of(name).get(key))])
            for name, own in zip(self.passes, self.options, strict=True)
        )


BatchStatus: TypeAlias = Literal["best", "better", "measured", "too slow", "skipped", "failed"]


@dataclass(frozen=True)
class BatchResult:
    """One batch size of the captured call, measured beside the captured one."""

    rows: int
    status: BatchStatus
    reason: str | None = None
    """Why it was skipped, or failed."""
    median_ns: float | None = None
    p99_ns: float | None = None
    rows_per_s: float | None = None
    speedup: float | None = None
    """Rows per second against the captured batch size."""
    interval: tuple[float, float] | None = None
    extra_bytes: int | None = None
    """What memory grew by at its first calls."""


@dataclass(frozen=True)
class Optimization:
    """All that one run of the optimizer found."""

    command: tuple[str, ...]
    root: str
    mode: str
    call: int
    signatures: tuple[str, ...]
    device: str
    threads: int
    profile: str | None
    """The recorded run directory."""
    baseline: Figures | None
    candidates: tuple[CandidateResult, ...]
    winner: CandidateResult | None
    complete: bool
    """False where the budget ended or the user interrupted before all was tried."""
    ended_by: str | None
    batches: tuple[BatchResult, ...] = ()
    """Batch sizes that were asked for, under the winner or else eager; the first is the program's own."""
    goal: str = "latency"
    handover: HandOver | None = None
    not_applied: str | None = None
    """Why there is no hand-over, where one was asked for."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
