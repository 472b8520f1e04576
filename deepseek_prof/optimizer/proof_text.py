"""The proof in words: the same sentences in the terminal and on the page."""

from __future__ import annotations

from deepseek_prof.optimizer.results import CandidateResult, Check, Optimization
from deepseek_prof.text import clean, counted, duration, percent

_LIMIT = 400
COMPARED = (
    "Mean self time in a call, in training in a step, from recordings of both. "
    "Layers of a compiled graph count for the layer around it."
)
_OF_GOAL = {
    "latency": "{speedup:.2f} × as fast as eager",
    "throughput": "{speedup:.2f} × as many calls a second as eager",
    "memory": "eager's peak memory is {speedup:.2f} × that of it",
}


def verdict(result: Optimization) -> str:
    """What is claimed, in one or two sentences."""
    winner = result.winner
    if winner is None or winner.interval is None:
        helps = "need less memory" if result.goal == "memory" else "faster"
        return f"No pass is proven to make this program {helps}."
    low, high = winner.interval
    gain = _OF_GOAL[result.goal].format(speedup=winner.speedup)
    joint = ": " if result.goal == "memory" else " is " if result.goal == "latency" else " makes "
    differs = f" Its results are not eager's: {accuracy(winner)} by {_measure(winner)}." if winner.lossy else ""
    return f"{winner.label}{joint}{gain} (95 % interval {low:.2f} to {high:.2f}).{differs}"


def conditions(result: Optimization) -> str:
    """What was measured, on what."""
    return (
        f"{clean(result.root)} in {result.mode} on {result.device}, {counted(result.threads, 'thread')}, inputs of "
        f"{counted(len(result.signatures), 'kind')}; "
        f"times are of one {unit_of(result)}, against eager in the same rounds"
    )


def unit_of(result: Optimization) -> str:
    """What is timed."""
    return "training step" if result.mode == "training" else "call"


def accuracy(row: CandidateResult) -> str:
    """The loss where there is one, else how far the outputs are from eager's."""
    if row.loss is not None and row.loss > 0:
        return f"-{percent(row.loss)}"
    apart = (row.numerics or {}).get("loss_difference")
    if apart is not None:
        return f"loss ±{apart:.0e}"
    sqnr = (row.numerics or {}).get("sqnr_db")
    return f"{sqnr:.0f} dB" if sqnr is not None else "equal" if row.numerics else "–"


def outcome(row: CandidateResult) -> str:
    """The row's status with its reason."""
    return f"{row.status}{f' – {clean(row.reason, _LIMIT)}' if row.reason else ''}"


def details(row: CandidateResult) -> list[str]:
    """What is to be known about a row besides its figures."""
    lines = [clean(line, _LIMIT) for line in (*row.fired, *row.notes)]
    if row.kept_in_float:
        lines.append(f"kept in float: {clean(', '.join(row.kept_in_float), _LIMIT)}")
    if row.compile_ns is not None and row.speedup is not None:
        pays = f"; pays after {row.break_even_calls:,} calls" if row.break_even_calls else ""
        lines.append(f"prepared in {duration(row.compile_ns)}{pays}")
    return lines


def handed_over(result: Optimization) -> list[str]:
    """Where the hand-over is, and what it did in a process of its own; nothing where none was asked for."""
    found = result.handover
    if found is None:
        return [f"Not handed over: {clean(result.not_applied, _LIMIT)}"] if result.not_applied else []
    lines = [f"{clean(found.file, _LIMIT)}: {_checked(found.check)}"]
    if found.package_check is not None:
        lines.append(f"{clean(', '.join(found.packages), _LIMIT)}: {_checked(found.package_check)}")
    elif found.no_package:
        lines.append(f"No package compiled ahead of time: {clean(found.no_package, _LIMIT)}")
    return lines


def _checked(check: Check) -> str:
    low, high = check.interval
    if check.loss_difference is not None:
        outputs = f"losses differ by {check.loss_difference:.1e} at most"
    else:
        outputs = "equal outputs" if check.sqnr_db is None else f"outputs {check.sqnr_db:.0f} dB from eager's"
    return f"loaded in a new process {check.speedup:.2f} × ({low:.2f} to {high:.2f}), {outputs}"


def _measure(row: CandidateResult) -> str:
    if "loss_difference" in (row.numerics or {}):
        return "the largest difference of a step"
    return "the metric or the largest entries" if row.loss is not None and row.loss > 0 else "signal to noise"
