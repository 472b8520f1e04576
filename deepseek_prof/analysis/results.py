"""The frozen results of ``summarize`` and ``top``. All times are nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepStats:
    """Step times of the steady part: warm-up steps, at the beginning of every process, are left out."""

    recorded: int
    """Finished steps of all ranks, warm-up included."""
    warmup: int
    """Leading steps left out, per rank."""
    warmup_ns: int
    """Time of the left-out steps of the rank that spent the most in them."""
    count: int
    """Steady steps of all ranks: what the figures below are taken over."""
    first: int
    last: int
    """First and last steady step, inclusive."""
    median_ns: int
    mean_ns: int
    p90_ns: int
    p99_ns: int
    min_ns: int
    max_ns: int
    slowest: int
    """Number of the longest steady step."""
    per_second: float
    """Steady steps a second of one rank."""


@dataclass(frozen=True)
class PhaseShare:
    """Time of one phase on the threads that drive the steps; ``outside`` is what no recorded span covers."""

    phase: str
    ns: int
    share: float
    """Fraction of ``Summary.wall_ns``."""


@dataclass(frozen=True)
class GroupRow:
    """An operator or an operator type, summed over the window."""

    name: str
    type: str
    count: int
    self_ns: int
    total_ns: int
    """With what it called; spans inside a span of the same group are not counted again."""
    share: float
    """``self_ns`` as a fraction of all operator self time."""
    forward_ns: int
    backward_ns: int
    """Parts of ``self_ns``."""

    @property
    def mean_ns(self) -> float:
        """Mean self time of a call."""
        return self.self_ns / self.count if self.count else 0.0


@dataclass(frozen=True)
class LayerRow:
    """A layer: ``self_ns`` is its own operators and Python, ``total_ns`` adds its sub-layers."""

    name: str
    depth: int
    """0 for a root module."""
    count: int
    """Forward calls."""
    self_ns: int
    total_ns: int
    share: float
    """``total_ns`` as a fraction of the self time of all recorded spans."""
    forward_ns: int
    backward_ns: int
    """Parts of ``total_ns``."""
    leaf: bool
    """Has no sub-layer."""
    device_ns: int = 0
    """Time of accelerators on work that the layer and its sub-layers started; no part of the other times."""
    parent: str | None = None
    """The layer around its most frequent call; None for a root module."""


@dataclass(frozen=True)
class DeviceStat:
    """One accelerator of one rank."""

    rank: int
    device: str
    busy_ns: int
    """Time in which at least one of its streams worked."""
    share: float
    """``busy_ns`` as a fraction of ``Summary.wall_ns`` of one rank, at most 1."""
    count: int
    """Kernels, copies and fills."""
    kernel_ns: int
    copy_ns: int
    """Sums over streams: together they may be more than ``busy_ns``."""


@dataclass(frozen=True)
class DataWait:
    """Waiting for the data loader on the threads that drive the steps."""

    count: int
    ns: int
    share: float
    """Fraction of ``Summary.wall_ns``."""
    mean_ns: float
    max_ns: int


@dataclass(frozen=True)
class MemoryStat:
    """Resident memory of a rank's process tree, from the ``rss`` counter."""

    rank: int
    device: str
    first_bytes: int
    peak_bytes: int
    last_bytes: int


@dataclass(frozen=True)
class ThreadStat:
    """One thread of one process over the whole recording (or the steady window where there are steps)."""

    rank: int
    pid: int
    tid: int
    count: int
    self_ns: int
    share: float
    """``self_ns`` as a fraction of ``Summary.wall_ns`` of one rank."""
    drives_steps: bool


@dataclass(frozen=True)
class Overhead:
    """What the recorder measured of itself, added over processes."""

    total_ns: int
    share: float
    """Fraction of the processes' run time."""
    operator_ns: float
    layer_ns: float
    method: str
    recorder: str


@dataclass(frozen=True)
class Dropped:
    """Spans that are not in ``spans/``."""

    pid: int
    reason: str
    spans: int


@dataclass(frozen=True)
class Window:
    """What the tables of a summary are taken over."""

    steps: tuple[int, int] | None
    """First and last step, inclusive; None: everything recorded, because there are no steps."""
    step_count: int
    """Steps of all ranks in the window whose operators are recorded; 0 without steps."""
    sampled: bool
    """True where the overhead budget left operators of some steps out."""
    evicted_before: int
    """First step whose raw spans are all kept; 0 where nothing was evicted."""


@dataclass(frozen=True)
class Summary:
    """Everything that the report shows, except findings.

    ``wall_ns`` is the time that the window covers, added over ranks: the sum of its steps, or, without steps, first
    start to last end of the driving threads' spans; with a query, the self time of what it selects on these threads.
    ``self_ns`` is the self time of all spans of all threads in the window, step spans left out. Tuples are sorted by
    falling ``self_ns`` (layers: by falling ``total_ns``).
    """

    span_count: int
    """Spans in the window, step spans left out."""
    ranks: int
    filtered: bool
    """A query selected the spans: then the window is what it selected, and phases and data wait cover only that."""
    window: Window
    wall_ns: int
    self_ns: int
    op_count: int
    op_self_ns: int
    steps: StepStats | None
    phases: tuple[PhaseShare, ...]
    types: tuple[GroupRow, ...]
    ops: tuple[GroupRow, ...]
    layers: tuple[LayerRow, ...]
    data_wait: DataWait | None
    memory: tuple[MemoryStat, ...]
    threads: tuple[ThreadStat, ...]
    overhead: Overhead | None
    dropped: tuple[Dropped, ...]
    devices: tuple[DeviceStat, ...] = ()
    kernels: tuple[GroupRow, ...] = ()
    """What the accelerators ran, by name; shares are of all their work. All other tables are of the host's threads,
    unless a query selects nothing but work of accelerators."""
    kernel_types: tuple[GroupRow, ...] = ()

    @property
    def per_step(self) -> float:
        """What to divide a sum over the window by to get a figure for one step (1 without steps)."""
        return float(self.window.step_count or 1)

    def phase_share(self, phase: str) -> float:
        """The share of a phase in the window's time; 0 where the phase does not occur."""
        return next((each.share for each in self.phases if each.phase == phase), 0.0)


@dataclass(frozen=True)
class TopRow:
    """One group. ``type``, ``layer`` and ``phase`` are empty where they do not say anything about the group."""

    name: str
    type: str
    layer: str
    phase: str
    count: int
    """Spans; for layers forward calls."""
    self_ns: int
    total_ns: int
    """With what it called or holds; for steps the step's length."""
    max_ns: int
    """Longest single span."""
    share: float
    """``self_ns`` as a fraction of ``TopTable.self_ns``."""
    forward_ns: int
    backward_ns: int
    """Parts of ``self_ns``; for layers of ``total_ns``."""
    device_ns: int = 0
    """Time of accelerators on work that the group started; no part of the other times, unless ``TopTable.devices``."""


@dataclass(frozen=True)
class TopTable:
    """The first ``limit`` groups of ``groups``."""

    by: str
    sort: str
    rows: tuple[TopRow, ...]
    groups: int
    span_count: int
    self_ns: int
    """Self time of all selected spans, steps' own spans left out."""
    evicted_included: bool
    """Sums of spans that ``--max-size`` removed are part of the figures."""
    evicted_left_out: bool
    """There are such sums, but the query asks for what only raw spans know."""
    device_ns: int = 0
    """Time of accelerators on the selected work, added over streams."""
    devices: bool = False
    """Nothing but work of accelerators is selected: then all figures are theirs."""
