"""Digits with a slow augmentation in pure Python and no loader workers: the model waits for its data."""

from __future__ import annotations

import argparse
import math
import random

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


def rotated(image: list[list[float]], degrees: float) -> list[list[float]]:
    """The image turned about its centre, bilinear, one pixel at a time."""
    size = len(image)
    centre = (size - 1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    result = []
    for row in range(size):
        line = []
        for column in range(size):
            y = cos * (row - centre) - sin * (column - centre) + centre
            x = sin * (row - centre) + cos * (column - centre) + centre
            top, left = math.floor(y), math.floor(x)
            value = 0.0
            for i in (top, top + 1):
                for j in (left, left + 1):
                    if 0 <= i < size and 0 <= j < size:
                        value += image[i][j] * (1 - abs(y - i)) * (1 - abs(x - j))
            line.append(value)
        result.append(line)
    return result


class AugmentedDigits(Dataset[tuple[Tensor, int]]):
    """float32[1, 8, 8] in 0..1 and a label; each image is enlarged, turned, and averaged back, anew at each read."""

    def __init__(self, enlarge: int) -> None:
        bunch = load_digits()
        self.images = (bunch.images / 16).tolist()
        self.labels = bunch.target.tolist()
        self.enlarge = enlarge
        self.random = random.Random(0)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, times = self.images[index], self.enlarge
        large = [[image[i // times][j // times] for j in range(8 * times)] for i in range(8 * times)]
        turned = torch.tensor(rotated(large, self.random.uniform(-15, 15)))
        return turned.view(8, times, 8, times).mean(dim=(1, 3)).unsqueeze(0), self.labels[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--enlarge", type=int, default=3, help="the augmentation's cost grows with its square")
    parser.add_argument("--workers", type=int, default=0, help="loader processes; 0 loads in the training loop")
    options = parser.parse_args()
    torch.manual_seed(0)

    data = AugmentedDigits(options.enlarge)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_of = nn.CrossEntropyLoss()
    step = 0
    while step < options.steps:
        for images, labels in DataLoader(data, options.batch, shuffle=True, num_workers=options.workers):
            if step == options.steps:
                break
            logits = model(images)
            loss = loss_of(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 20 == 0 or step == options.steps - 1:
                correct = (logits.argmax(dim=1) == labels).float().mean().item()
                print(f"step {step}: loss {loss.item():.3f}, accuracy {correct:.1%}")
            step += 1


if __name__ == "__main__":
    main()
