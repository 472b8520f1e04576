"""Applies passes of the optimizer to modules within the test's own process, as a candidate's process does."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deepseek_prof.optimizer.numerics import compare
from deepseek_prof.optimizer.passes import handler
from deepseek_prof.optimizer.protocol import Applied, Call, Captured
from deepseek_prof.optimizer.values import tensors
from tests.support.recording import environment


@contextmanager
def fresh_compiler() -> Iterator[None]:
    """Dynamo without graphs of earlier tests, and Inductor's settings as they were afterwards."""
    import torch._inductor.config as inductor_config

    torch._dynamo.reset()
    with inductor_config.patch(freezing=False), torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def captured(module: nn.Module, *calls: Call) -> Captured:
    """The module as it would be captured in those calls."""
    return Captured(module, calls, module.training, "cpu")


def positional(*args: Any) -> Call:
    """A call without keywords."""
    return Call(args, {})


def apply(name: str, config: Any, subject: Captured) -> Applied:
    """Apply a pass that must not refuse, and make the captured calls, after which it can tell whether it fired."""
    found = handler(name)
    assert found.refusal(config, subject) is None
    applied = found.apply(config, subject.module, subject)
    for call in subject.calls:
        applied.call(*call.args, **call.kwargs)
    return applied


def sqnr_db(eager: Any, candidate: Any) -> float:
    """Signal to noise ratio in dB of the candidate's outputs against eager's: +inf where they are equal."""
    found = compare([dict(tensors(eager))], [dict(tensors(candidate))], None, "").sqnr_db
    return math.inf if found is None else found


def convolutional() -> nn.Module:
    """Convolution, normalization, activation, pooling and a linear layer; input (n, 3, 32, 32), output (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).eval()


def perceptron() -> nn.Module:
    """Three linear layers; input (n, 64), output (n, 16)."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 16)).eval()


class Branching(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.positive, self.negative = nn.Linear(64, 16), nn.Linear(64, 16)

    def forward(self, values: torch.Tensor) -> Any:
        chosen = self.positive if values.sum() > 0 else self.negative
        return chosen(values).relu()


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight

    def forward(self, values: torch.Tensor) -> Any:
        return self.second(self.first(values).relu())


class Mutating(nn.Module):
    """Doubles its input where it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 16)

    def forward(self, values: torch.Tensor) -> Any:
        values.mul_(2)
        return self.linear(values)


@dataclasses.dataclass
class Scores:
    """Result of :class:`Structured`."""

    scores: torch.Tensor
    best: torch.Tensor


class Structured(nn.Module):
    """Takes a keyword only and returns a dataclass."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 16)

    def forward(self, *, values: torch.Tensor) -> Scores:
        scores = self.linear(values)
        return Scores(scores, scores.argmax(-1))


def interrupted(words: Sequence[str], cwd: Path, rows: Sequence[bytes]) -> tuple[int, Any]:
    """Run an optimization until it narrates one of ``rows``, press Ctrl-C, and return its exit status and its JSON."""
    with subprocess.Popen(words, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"optimizing" not in line and any(each in line for each in rows):
                process.send_signal(signal.SIGINT)
                break
        stdout, _ = process.communicate(timeout=60)
    return process.returncode, json.loads(stdout)
