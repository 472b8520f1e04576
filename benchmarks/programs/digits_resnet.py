"""A ResNet-50 that has learned handwritten digits: ``python digits_resnet.py WEIGHTS`` (trained first, where missing).

:func:`agreement` is the share of held-out images to which a callable gives the same class as the network itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

SIZE = 224
CALLS = 16
HELD_OUT = 200
_TRAINED_SIZE, _STEPS, _BATCH = 64, 120, 16


def images(first: int, last: int, size: int) -> torch.Tensor:
    """Digits as (count, 3, size, size)."""
    small = torch.tensor(load_digits().images[first:last], dtype=torch.float32)[:, None] / 8 - 1
    return functional.interpolate(small, size=(size, size), mode="bilinear").expand(-1, 3, -1, -1).contiguous()


def network() -> torch.nn.Module:
    """A ResNet-50 for ten classes."""
    torch.manual_seed(0)
    return ResNetForImageClassification(ResNetConfig(depths=[3, 4, 6, 3], num_labels=10))


def train(weights: Path) -> None:
    """Learn all but the held-out digits, and settle the statistics of normalization at the size of the calls."""
    model = network()
    labels = torch.tensor(load_digits().target)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    count = len(labels) - HELD_OUT
    small = images(0, count, _TRAINED_SIZE)
    for _ in range(_STEPS):
        chosen = torch.randint(count, (_BATCH,))
        optimizer.zero_grad()
        functional.cross_entropy(model(small[chosen]).logits, labels[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        for start in range(0, 5 * _BATCH, _BATCH):
            model(images(start, start + _BATCH, SIZE))
    torch.save(model.state_dict(), weights)


_expected: list[int] = []


def agreement(model: Callable[..., Any]) -> float:
    """Against the first callable that it is asked about, which is the network as it was."""
    with torch.no_grad():
        held_out = images(1797 - HELD_OUT, 1797, SIZE)
        found = [int(model(pixel_values=image[None]).logits.argmax()) for image in held_out]
    _expected[:] = _expected or found
    return sum(a == b for a, b in zip(found, _expected, strict=True)) / len(found)


def main(weights: Path) -> None:
    """Classify some digits, one at a time."""
    if not weights.exists():
        train(weights)
    model = network().eval()
    model.load_state_dict(torch.load(weights))
    with torch.no_grad():
        for image in images(0, CALLS, SIZE):
            model(pixel_values=image[None])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
