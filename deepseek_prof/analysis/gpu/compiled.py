"""Layers of kernels that Inductor wrote: what the recording noted of them while they were compiled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeAlias

from deepseek_prof.model import COMPILED_KERNEL
from deepseek_prof.trace.run import Run

KernelLayers: TypeAlias = dict[tuple[int, str], dict[str, float]]
"""By rank and kernel: the share of its work by layer, the layers around each included."""


def kernel_layers(run: Run) -> KernelLayers:
    """What is known of the kernels of ``run``. A kernel that several graphs or calls share counts for all of them.

    Raises:
        RunDamagedError: a file of the run is damaged.
    """
    counts: dict[tuple[int, str], dict[str, int]] = {}
    for rank, text in run.rows(
        "SELECT rank, fields::VARCHAR FROM logs WHERE event = ? ORDER BY ts_ns", [COMPILED_KERNEL]
    ):
        # A program's own events may have this name too.
        fields = json.loads(text)
        kernel, layers = fields.get("kernel"), fields.get("layers")
        if not isinstance(kernel, str) or not isinstance(layers, Mapping):
            continue
        known = counts.setdefault((rank, kernel), {})
        for layer, nodes in layers.items():
            if isinstance(nodes, int) and nodes > 0:
                known[layer] = known.get(layer, 0) + nodes
    return {key: _shares(layers) for key, layers in counts.items() if layers}


def _shares(layers: Mapping[str, int]) -> dict[str, float]:
    """A kernel's nodes take equal shares of its time: what each really takes, nobody can see from outside."""
    total = sum(layers.values())
    shares: dict[str, float] = {}
    for layer, nodes in layers.items():
        parts = layer.split(".")
        for depth in range(len(parts)):
            name = ".".join(parts[: depth + 1])
            shares[name] = shares.get(name, 0.0) + nodes / total
    return shares
