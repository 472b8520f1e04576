"""Training steps on a GPU, for ``benchmarks/gpu_acceptance.py``; no data and no weights from elsewhere.

``blocks`` times the steps bare, recorded in full, by default, the light way and under ``torch.profiler``, in shuffled
rounds in one process. ``profiled`` counts what ``torch.profiler`` sees of some steps. ``steps`` only runs, to be
recorded by ``deepseek-prof run``, and tells its resident size as it goes on. The result is a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

ARMS = ("bare", "full", "auto", "light", "profiler")
WARM_UP_STEPS = 12


class Bert(nn.Module):
    """An encoder of BERT-base's sizes with a head over its vocabulary."""

    def __init__(self, width: int, heads: int, layers: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of shape (batch, length, vocabulary) for tokens of shape (batch, length)."""
        scores: torch.Tensor = self.head(self.encoder(self.tokens(tokens) + self.positions))
        return scores


def make_step(name: str, device: str, *, compiled: bool) -> Callable[[], None]:
    """A training step: ``bert`` is BERT-base in bf16 with 32 x 128 tokens, ``small`` is bound by its launches."""
    torch.manual_seed(0)
    if name == "bert":
        model: nn.Module = Bert(768, 12, 12, 30_522, 128)
        batch, length, vocabulary = 32, 128, 30_522
    else:
        model = Bert(64, 4, 4, 256, 16)
        batch, length, vocabulary = 8, 16, 256
    model.to(device)
    tokens = torch.randint(0, vocabulary, (batch, length), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    called = torch.compile(model) if compiled else model

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            scores = called(tokens)
            loss = nn.functional.cross_entropy(scores.flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def block(step: Callable[[], None], device: str, seconds: float, *, at_least: int = 4) -> float:
    """Seconds a step, over steps that take so long together."""
    for _ in range(2):
        step()
    synchronize(device)
    begin_s, steps = time.perf_counter(), 0
    while steps < at_least or time.perf_counter() - begin_s < seconds:
        for _ in range(4):  # what asks for the time is not to be what is measured
            step()
        synchronize(device)
        steps += 4
    return (time.perf_counter() - begin_s) / steps


def run_arm(arm: str, step: Callable[[], None], device: str, seconds: float) -> float:
    """Seconds a step in a block of this arm; starting and ending what records is not part of it."""
    if arm == "bare":
        return block(step, device, seconds)
    if arm == "profiler":
        activities = [torch.profiler.ProfilerActivity.CPU]
        if device == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        profiler = torch.profiler.profile(activities=activities)
        profiler.start()
        # Half a second of its events is enough to hold and to read.
        found = block(step, device, min(seconds, 0.5))
        os.environ["TEARDOWN_CUPTI"] = "1"  # the next block is to be as bare as the first
        try:
            profiler.stop()
        finally:
            del os.environ["TEARDOWN_CUPTI"]
        return found
    from deepseek_prof.collectors import child

    settings = {
        "full": child.ChildSettings(record="ops", cuda="kernels"),
        "auto": child.ChildSettings(record="ops", cuda="auto"),
        "light": child.ChildSettings(record="layers", cuda="events"),
    }[arm]
    with tempfile.TemporaryDirectory(prefix="gpu-acceptance-") as folder:
        child.begin(Path(folder), settings)
        try:
            return block(step, device, seconds)
        finally:
            child.end()


def run_blocks(step: Callable[[], None], arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds a step by arm and round."""
    order = random.Random(0)
    rounds: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        arms = list(ARMS)
        order.shuffle(arms)
        rounds.append({arm: run_arm(arm, step, arguments.device, arguments.seconds) for arm in arms})
    return {"rounds": rounds}


def run_profiled(step: Callable[[], None], arguments: argparse.Namespace) -> dict[str, Any]:
    """Kernels a step and their time a step, as ``torch.profiler`` has them."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    synchronize(arguments.device)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(arguments.steps):
            step()
        synchronize(arguments.device)
    if profiler.profiler is None or profiler.profiler.kineto_results is None:
        raise RuntimeError("torch.profiler recorded nothing")
    kernels = [
        event.duration_ns() for event in profiler.profiler.kineto_results.events() if event.activity_type() == "kernel"
    ]
    return {"kernels": len(kernels) / arguments.steps, "kernel_ns": sum(kernels) / arguments.steps}


def run_steps(step: Callable[[], None], arguments: argparse.Namespace) -> dict[str, Any]:
    """Resident bytes over time, of at least ``steps`` steps and ``seconds`` seconds."""
    resident: list[tuple[float, int]] = []
    begin_s, steps = time.monotonic(), 0
    while steps < arguments.steps or time.monotonic() - begin_s < arguments.seconds:
        step()
        steps += 1
        if not resident or time.monotonic() - begin_s - resident[-1][0] > 1.0:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            resident.append((time.monotonic() - begin_s, pages * os.sysconf("SC_PAGE_SIZE")))
    synchronize(arguments.device)
    return {"steps": steps, "warm_up_steps": WARM_UP_STEPS, "resident": resident}


MODES = {"blocks": run_blocks, "profiled": run_profiled, "steps": run_steps}


def main() -> None:
    """Run a mode and write its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--model", choices=("bert", "small"), default="bert")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--result", type=Path, required=True)
    arguments = parser.parse_args()
    step = make_step(arguments.model, arguments.device, compiled=arguments.compile)
    for _ in range(WARM_UP_STEPS):
        step()
    synchronize(arguments.device)
    result = MODES[arguments.mode](step, arguments)
    arguments.result.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
