"""Small models that are called in evaluation: ``python optimize_models.py NAME``."""

from __future__ import annotations

import sys

import torch
from torch import nn


class Dense(nn.Module):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 1024), nn.GELU(), nn.Linear(1024, 64)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (rows, 256) to (rows, 1024)."""
        return self.layers(x)


class Convolutional(nn.Module):
    """Two convolutions with their normalizations."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) to (n, 32)."""
        return self.layers(x).mean((2, 3))


class Recurrent(nn.Module):
    """One LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 128, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (n, length, 64) to (n, 128)."""
        return self.lstm(x)[0][:, -1]


SHAPES = {"Dense": (32, 256), "Convolutional": (1, 3, 48, 48), "Recurrent": (2, 24, 64)}


def main(name: str) -> None:
    """Call the model some times without gradients."""
    model = globals()[name]().eval()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(SHAPES[name]))


if __name__ == "__main__":
    main(sys.argv[1])
