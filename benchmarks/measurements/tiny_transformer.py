"""The worst case: a tiny transformer in training on one thread, about 5,000 records of about 1.2 µs a step."""

from __future__ import annotations

from benchmarks.measurements.overhead import BUDGET, CONTROL, OPS, Overhead, StepCount

TINY_TRANSFORMER = Overhead(
    name="tiny-transformer",
    title="Tiny transformer training, one thread, ~1.2 µs an operator",
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
