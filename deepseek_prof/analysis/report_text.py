"""What a report says in words, the same in the terminal and in files: plain text, with names made fit to be shown."""

from __future__ import annotations

from deepseek_prof.analysis.results import Summary
from deepseek_prof.text import clean, count, counted, duration, percent, size
from deepseek_prof.trace.run import Run

PHASE_LABELS = {
    "data": "data loading",
    "forward": "forward",
    "backward": "backward",
    "optimizer": "optimizer",
    "other": "other operators",
    "outside": "outside PyTorch",
}

_MAX_THREADS = 3
_MAX_WARNINGS = 5


def ending(run: Run) -> tuple[str, ...]:
    """The run's status, and how its program ended where that was not well."""
    info = run.info
    found = clean(str(info.get("status") or ""), 30)
    parts = (found,) if found else ()
    if info.get("signal"):
        return (*parts, f"killed by signal {clean(str(info['signal']), 30)}")
    if info.get("exit_code"):
        return (*parts, f"exit status {clean(str(info['exit_code']), 30)}")
    return parts


def torch_version(run: Run) -> str:
    """The version of the first process that says one; else empty."""
    found = next((process.get("torch") for process in run.processes if process.get("torch")), None)
    return clean(str(found), 30) if found else ""


def window_notes(summary: Summary) -> tuple[str, ...]:
    """What the tables cover, where that is not every recorded step; a sentence each."""
    window, steps = summary.window, summary.steps
    if steps is None:
        over = "what the query selects" if summary.filtered else f"the whole recording, {duration(summary.wall_ns)}"
        return (f"The figures below are sums over {over}.",)
    if summary.filtered:
        return (f"The tables below cover what the query selects, in {_steps(window.step_count)}.",)
    notes = []
    if steps.warmup:
        which = "The first step is" if steps.warmup == 1 else f"The first {steps.warmup} steps are"
        notes.append(f"{which} warm-up ({duration(steps.warmup_ns)}), left out here and below.")
    if window.steps and window.evicted_before > steps.first:
        notes.append(f"Raw spans are kept from step {window.steps[0]} on (--max-size): the tables cover those.")
    if window.sampled:
        notes.append(f"The overhead budget recorded operators in {_steps(window.step_count)}: the tables cover those.")
    return tuple(notes)


def steps_per_second(summary: Summary) -> str:
    """The throughput of one rank, as a figure without its unit; empty without steps."""
    if summary.steps is None:
        return ""
    rate = summary.steps.per_second
    return count(rate) if rate < 100 else f"{rate:,.0f}"


def gain(low: float, high: float) -> str:
    """An estimated gain, both bounds as fractions: ``3 to 8 %``."""
    if percent(low) == percent(high):
        return f"about {percent(high)}"
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def device_lines(summary: Summary) -> tuple[str, ...]:
    """How busy each accelerator was, per step where there are steps."""
    # Steps are counted over all ranks, a device belongs to one.
    ranks = summary.ranks if summary.window.step_count else 1
    lines = []
    for device in summary.devices:
        rank = f"rank {device.rank} " if summary.ranks > 1 else ""
        share = "" if summary.filtered else f" {percent(device.share)} of the time,"
        busy, kernels, copies = (
            duration(ns * ranks / summary.per_step) for ns in (device.busy_ns, device.kernel_ns, device.copy_ns)
        )
        lines.append(f"{rank}{clean(device.device)} busy{share} {busy}: kernels {kernels}, copies {copies}")
    return tuple(lines)


def notes(run: Run, summary: Summary) -> tuple[tuple[str, str], ...]:
    """Data wait, memory, threads, the recorder's own cost, and what is missing: those that have something to say."""
    found = (
        ("Data wait", _data_wait(summary)),
        ("Memory", _memory(summary)),
        ("Threads", _threads(run, summary)),
        ("Own cost", _overhead(summary)),
        ("Dropped", _dropped(summary)),
        ("Warnings", _warnings(run)),
    )
    return tuple((name, text) for name, text in found if text)


def _steps(number: int) -> str:
    return counted(number, "step")


def _data_wait(summary: Summary) -> str:
    wait = summary.data_wait
    if wait is None:
        return "no DataLoader was used" if summary.span_count and not summary.filtered else ""
    share = "" if summary.filtered else f", {percent(wait.share)} of the time"
    return f"{duration(wait.mean_ns)} a batch{share}; longest {duration(wait.max_ns)}"


def _memory(summary: Summary) -> str:
    return "\n".join(
        (f"rank {stat.rank}: " if summary.ranks > 1 else "")
        + f"resident peak {size(stat.peak_bytes)}, "
        + f"{size(stat.first_bytes)} at the start, {size(stat.last_bytes)} at the end"
        for stat in summary.memory
    )


def _threads(run: Run, summary: Summary) -> str:
    if not summary.threads:
        return ""
    parts = []
    for thread in summary.threads[:_MAX_THREADS]:
        rank = f"rank {thread.rank} " if summary.ranks > 1 else ""
        main = " (drives the steps)" if thread.drives_steps and summary.steps else ""
        parts.append(f"{rank}thread {thread.tid}{main}: {duration(thread.self_ns)} in {counted(thread.count, 'span')}")
    more = len(summary.threads) - _MAX_THREADS
    text = "; ".join(parts) + (f"; {more} more" if more > 0 else "")
    intra = _intra_op_threads(run, summary.threads[0].pid)
    return text + (f"\n{counted(intra, 'intra-op thread')} for the kernels" if intra else "")


def _intra_op_threads(run: Run, pid: int) -> int | None:
    """Of the process ``pid``: launchers and loading workers have a number of their own, and compute nothing."""
    counts = [each.get("intra_op_threads") for each in run.processes if each.get("pid") == pid]
    return next((each for each in counts if isinstance(each, int) and each > 0), None)


def _overhead(summary: Summary) -> str:
    overhead = summary.overhead
    if overhead is None:
        return "not measured" if summary.span_count else ""
    each = (
        f", {overhead.operator_ns:.0f} ns an operator, {overhead.layer_ns:.0f} ns a layer"
        if overhead.operator_ns
        else ""
    )
    name = f"{clean(overhead.recorder)} recorder: " if overhead.recorder else ""
    return f"{name}{duration(overhead.total_ns)}, {percent(overhead.share)} of the run{each}"


def _dropped(summary: Summary) -> str:
    return "\n".join(
        f"{counted(each.spans, 'span')} of process {each.pid}: {clean(each.reason) or 'reason unknown'}"
        for each in summary.dropped
    )


def _warnings(run: Run) -> str:
    found = [str(text) for text in run.listed("warnings")]
    for process in run.processes:
        warnings = process.get("warnings")
        found += [str(text) for text in warnings] if isinstance(warnings, list) else []
    unique = list(dict.fromkeys(found))
    lines = [clean(text, 300) for text in unique[:_MAX_WARNINGS]]
    return "\n".join(
        lines + ([f"{len(unique) - _MAX_WARNINGS} more in run.json"] if len(unique) > _MAX_WARNINGS else [])
    )
