"""Small models that are trained: ``python optimize_trainings.py NAME``; every step is of the same kind."""

from __future__ import annotations

import sys

import torch
from torch import nn

from benchmarks.programs.optimize_models import SHAPES, Convolutional, Dense, Recurrent

STEPS = 400
MODELS = {"Dense": Dense, "Convolutional": Convolutional, "Recurrent": Recurrent}


def main(name: str) -> None:
    """Learn the sum of the inputs' first numbers."""
    torch.manual_seed(0)
    model = MODELS[name]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(STEPS):
        inputs = torch.randn(SHAPES[name])
        wanted = inputs.flatten(1)[:, :4].sum(1)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs).mean(1), wanted).backward()
        optimizer.step()


if __name__ == "__main__":
    main(sys.argv[1])
