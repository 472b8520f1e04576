"""Waiting for the data loader."""

from __future__ import annotations

from deepseek_prof.analysis.findings.concurrency import usable_cpus
from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import duration, number, percent

MIN_SHARE = 0.10
STARTUP_FACTOR = 20
"""A longest wait of so many mean waits is the start of worker processes, not a slow sample."""


def data_stall(evidence: Evidence) -> Finding | None:
    """The main thread waits for batches for at least a tenth of the step."""
    wait = evidence.summary.data_wait
    if wait is None or wait.share < MIN_SHARE:
        return None
    share = evidence.share(wait.ns)
    in_process = any("_SingleProcessDataLoaderIter" in each.name for each in evidence.calls if each.kind == "data")
    facts = [
        (
            f"the thread that drives the steps waits for data {percent(share)} of the time: "
            f"{duration(evidence.per_step(wait.ns))} of {duration(evidence.per_step(evidence.wall_ns))} a step"
        ),
        f"{number(wait.count)} waits, {duration(wait.mean_ns)} on average, the longest {duration(wait.max_ns)}",
    ]
    cpus = usable_cpus(evidence)
    spare = f" ({cpus} CPUs to run on)" if cpus else ""
    if in_process:
        facts.append("the loader works inside the training process: num_workers=0")
        advice = (
            f"Load in other processes: DataLoader(num_workers=2 or more{spare}, persistent_workers=True, "
            "prefetch_factor=4); or prepare the samples once and keep them as tensors."
        )
    else:
        workers = (
            f"{evidence.workers} of them were recorded" if evidence.workers else "none of them ran PyTorch operators"
        )
        facts.append(f"the loader uses worker processes ({workers}), yet they do not keep up")
        advice = (
            f"Raise num_workers{spare} and prefetch_factor, or make a sample cheaper: decode and transform once, "
            "collate whole tensors, avoid Python objects in the dataset."
        )
        if wait.count > STARTUP_FACTOR and wait.max_ns > STARTUP_FACTOR * wait.mean_ns:
            advice = "Set persistent_workers=True: the longest wait looks like the start of the workers. " + advice
    # With a single CPU, loading and computing cannot overlap unless the loader waits for a disk or a network.
    low = 0.0 if cpus == 1 else 0.5
    facts.append(
        f"gain: between {'none' if cpus == 1 else 'half'} of this wait and nearly all of it can pass behind "
        "the computation"
    )
    return Finding(
        rule="data-stall",
        title=f"The step waits for the data loader {percent(share)} of the time",
        evidence=tuple(facts),
        gain_low=low * share,
        gain_high=0.95 * share,
        advice=advice,
        severity=severity_of(0.95 * share),
    )
