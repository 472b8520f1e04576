"""BERT-base in training; outside the default set (``--only bert-base``), because start-up dominates its rounds."""

from __future__ import annotations

from benchmarks.measurements.overhead import CONTROL, OPS, Overhead, StepCount

BERT_BASE = Overhead(
    name="bert-base",
    title="BERT-base training, batch 1 of 128 tokens, default threads",
    program="bert_base",
    steps=StepCount(warm_up=2, timed=12),
    quick_steps=StepCount(warm_up=1, timed=1),
    kineto_steps=StepCount(warm_up=2, timed=6),
    arms=(OPS,),
    bars={OPS.name: 1.02},
    references={CONTROL.name: "A/A control: the noise", OPS.name: "--record ops, layers on"},
    in_default_set=False,
)
