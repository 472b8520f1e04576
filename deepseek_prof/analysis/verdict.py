"""The one line that a report opens with: what bounds the step, why, and what to try next."""

from __future__ import annotations

from dataclasses import dataclass

from deepseek_prof.analysis.results import GroupRow, Summary

SMALL_OPERATOR_NS = 10_000
"""Below this mean self time an operator is mostly dispatch, not arithmetic."""

_DEVICE_BOUND = 0.85
_DATA_BOUND = 0.20
_OUTSIDE_BOUND = 0.35
_OPTIMIZER_BOUND = 0.35
_SMALL_BOUND = 0.40
_TYPE_BOUND = 0.35

_TYPE_ADVICE: dict[str, str] = {
    "matmul": "This is arithmetic: try bfloat16 autocast, and see which layers hold it with `top --by layer`.",
    "conv": "Try memory_format=torch.channels_last for model and input, and bfloat16 autocast.",
    "attention": "Try bfloat16 autocast and shorter or packed sequences.",
    "collective": "Ranks wait for each other or for the network: compare them with `top rank:0 --by phase`; add up "
    "gradients of several batches under no_sync(), or give each rank a larger batch.",
    "copy": "Find who copies with `top --by context`: dtype changes, .contiguous() or device moves.",
}
_GENERAL_ADVICE = "See which layers hold it with `top --by layer`; torch.compile(model) merges small operators."


@dataclass(frozen=True)
class Verdict:
    """``bound``: ``device``, ``data``, ``python``, ``dispatch``, ``optimizer``, an operator type, ``mixed`` or
    ``nothing``."""

    bound: str
    headline: str
    why: str
    next: str


def judge(summary: Summary) -> Verdict:
    """The verdict on a summary: the first cause, in order of how cheap it is to mend, that is large enough."""
    if not summary.span_count:
        return Verdict(
            "nothing",
            "Nothing to judge: no PyTorch operator was recorded.",
            "The program ran without importing torch, or ended before its first operator.",
            "Check that the command runs the code you mean, and that `deepseek-prof doctor` finds the recorder.",
        )
    for rule in (_device, _data, _optimizer, _outside, _dispatch, _operator_type):
        verdict = rule(summary)
        if verdict is not None:
            return verdict
    return _mixed(summary)


def small_operator_share(summary: Summary) -> float:
    """Fraction of operator self time spent in operators of less than 10 us a call."""
    small = sum(row.self_ns for row in summary.ops if row.mean_ns < SMALL_OPERATOR_NS)
    return small / (summary.op_self_ns or 1)


def _subject(summary: Summary) -> str:
    return "The step" if summary.steps is not None else "The program"


def _device(summary: Summary) -> Verdict | None:
    if not summary.devices or min(device.share for device in summary.devices) < _DEVICE_BOUND:
        return None
    busiest = max(summary.devices, key=lambda device: device.share)
    parts = ", ".join(f"{row.name} {_percent(row.share)}" for row in summary.kernel_types[:3])
    largest = next((row.name for row in summary.kernel_types if row.name in _TYPE_ADVICE), "")
    return Verdict(
        "device",
        f"{_subject(summary)} is bound by the accelerator: {busiest.device} is busy {_percent(busiest.share)} of it.",
        f"Of its time, {parts or 'nothing has a name'}.",
        _TYPE_ADVICE.get(largest, "Try bfloat16 autocast, and torch.compile(model) to merge small kernels."),
    )


def _data(summary: Summary) -> Verdict | None:
    wait = summary.data_wait
    if wait is None or wait.share < _DATA_BOUND:
        return None
    return Verdict(
        "data",
        f"{_subject(summary)} is bound by data loading: {_percent(wait.share)} of it waits for the DataLoader.",
        f"{wait.count:,} waits, {wait.mean_ns / 1e6:.1f} ms each on average; nothing else runs meanwhile.",
        "Load in the background: DataLoader(num_workers=2 or more, persistent_workers=True), or make "
        "Dataset.__getitem__ cheaper.",
    )


def _optimizer(summary: Summary) -> Verdict | None:
    share = summary.phase_share("optimizer")
    if share < _OPTIMIZER_BOUND or share < max(summary.phase_share("forward"), summary.phase_share("backward")):
        return None
    return Verdict(
        "optimizer",
        f"{_subject(summary)} is bound by the optimizer: {_percent(share)} of it is optimizer work.",
        f"Forward takes {_percent(summary.phase_share('forward'))}, "
        f"backward {_percent(summary.phase_share('backward'))}.",
        "Try fused=True in the optimizer's constructor, or a larger batch for each optimizer step.",
    )


def _outside(summary: Summary) -> Verdict | None:
    share = summary.phase_share("outside")
    if share < _OUTSIDE_BOUND:
        return None
    return Verdict(
        "python",
        f"{_subject(summary)} is bound by code outside PyTorch: "
        f"{_percent(share)} of it runs no operator and no module.",
        "This is the program's own Python between operators, or input and output.",
        "Look at what the loop does besides the model: logging, printing, checkpoints, data preparation.",
    )


def _dispatch(summary: Summary) -> Verdict | None:
    share = small_operator_share(summary)
    if share < _SMALL_BOUND:
        return None
    calls = sum(row.count for row in summary.ops if row.mean_ns < SMALL_OPERATOR_NS)
    return Verdict(
        "dispatch",
        f"{_subject(summary)} is bound by many small operators: "
        f"{_percent(share)} of operator time is in calls below 10 µs.",
        f"{calls / summary.per_step:,.0f} such calls{_each(summary)}; "
        "at that size dispatch costs more than arithmetic.",
        "Try torch.compile(model), a larger batch, or fused operators.",
    )


def _operator_type(summary: Summary) -> Verdict | None:
    if not summary.types:
        return None
    largest: GroupRow = summary.types[0]
    if largest.share < _TYPE_BOUND or largest.name == "other":
        return None
    leading = next((row for row in summary.ops if row.type == largest.name), None)
    lead = f"; {leading.name} alone takes {_percent(leading.share)}" if leading else ""
    return Verdict(
        largest.name,
        f"{_subject(summary)} is bound by {largest.name} operators: {_percent(largest.share)} of operator time.",
        f"Of the time, {_passes(summary)}{lead}.",
        _TYPE_ADVICE.get(largest.name, _GENERAL_ADVICE),
    )


def _mixed(summary: Summary) -> Verdict:
    parts = ", ".join(f"{row.name} {_percent(row.share)}" for row in summary.types[:3])
    return Verdict(
        "mixed",
        f"{_subject(summary)} has no single bottleneck: the largest operator types are {parts or 'none'}.",
        f"Of the time, {_passes(summary)}.",
        _GENERAL_ADVICE,
    )


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _passes(summary: Summary) -> str:
    """The shares of forward and, where there is one, backward."""
    forward, backward = (summary.phase_share(phase) for phase in ("forward", "backward"))
    return f"forward {_percent(forward)}" + (f", backward {_percent(backward)}" if backward else "")


def _each(summary: Summary) -> str:
    return " a step" if summary.steps is not None else ""
