"""What Python stacks add: the worst case of recording, with py-spy beside it at two rates and with native frames."""

from __future__ import annotations

from benchmarks.measurements.overhead import CONTROL, OPS, Overhead, StepCount
from benchmarks.session import Arm

_OPTIONS = ("--record", "ops", "--python-stacks")
STACKS = Arm("stacks", _OPTIONS)
FAST_STACKS = Arm("stacks 1 kHz", (*_OPTIONS, "--stacks-rate", "1000"))
NATIVE_STACKS = Arm("native stacks", (*_OPTIONS, "--native-stacks"))

PYTHON_STACKS = Overhead(
    name="python-stacks",
    title="Python stacks with py-spy, tiny transformer training, one thread",
    program="tiny_transformer",
    steps=StepCount(warm_up=100, timed=500),
    quick_steps=StepCount(warm_up=2, timed=5),
    kineto_steps=StepCount(warm_up=100, timed=60),
    arms=(OPS, STACKS, FAST_STACKS, NATIVE_STACKS),
    references={
        CONTROL.name: "A/A control: the noise",
        OPS.name: "without stacks: what the others compare with",
        STACKS.name: "100 samples a second, the program is not stopped",
        FAST_STACKS.name: "1000 samples a second",
        NATIVE_STACKS.name: "100 samples a second, the program is stopped for each",
    },
    in_default_set=False,
)
