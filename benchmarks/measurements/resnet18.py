"""An ordinary program: ResNet-18 in training on all CPUs that torch takes by itself."""

from __future__ import annotations

from benchmarks.measurements.overhead import CONTROL, OPS, Overhead, StepCount

RESNET18 = Overhead(
    name="resnet18",
    title="ResNet-18 training, batch 4 of 96 x 96, default threads",
    program="resnet18",
    steps=StepCount(warm_up=10, timed=120),
    quick_steps=StepCount(warm_up=1, timed=2),
    kineto_steps=StepCount(warm_up=10, timed=120),
    arms=(OPS,),
    bars={OPS.name: 1.02},
    references={CONTROL.name: "A/A control: the noise", OPS.name: "--record ops, layers on"},
)
