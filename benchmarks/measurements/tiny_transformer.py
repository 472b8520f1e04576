"""The worst case: a tiny transformer in training on one thread, about 5,000 records a step.

The bars are for 1.2 µs a record, which is batch 4 on the machine of docs/benchmarks.md. Batch 2 is denser still, and
outside the default set (``--only tiny-transformer-dense``).
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.measurements.overhead import BUDGET, CONTROL, OPS, Overhead, StepCount

TINY_TRANSFORMER = Overhead(
    name="tiny-transformer",
    title="Tiny transformer training, one thread, batch 4: ~1.2 µs a record",
    program="tiny_transformer",
    steps=StepCount(warm_up=100, timed=500),
    quick_steps=StepCount(warm_up=2, timed=5),
    kineto_steps=StepCount(warm_up=100, timed=60),
    arms=(OPS, BUDGET),
    bars={OPS.name: 1.20, BUDGET.name: 1.05},
    references={
        CONTROL.name: "A/A control: the noise",
        OPS.name: "--record ops, layers on; aim 1.12",
        BUDGET.name: "--overhead-budget 3%",
        "kineto": "torch.profiler, CPU activities, no layers",
    },
)

TINY_TRANSFORMER_DENSE = replace(
    TINY_TRANSFORMER,
    name="tiny-transformer-dense",
    title="The same with batch 2",
    options=("--batch", "2"),
    bars={},
    in_default_set=False,
)
