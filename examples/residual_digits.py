"""A small residual convolutional network on scikit-learn's 8x8 handwritten digits."""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResidualNet(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Residual(width, width, 1), Residual(width, width, 1)),
                nn.Sequential(Residual(width, 2 * width, 2), Residual(2 * width, 2 * width, 1)),
            ]
        )
        self.head = nn.Linear(2 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem(images))
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)))


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Training and test images as float32[N, 1, 8, 8] in 0..1, with labels 0..9."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(bunch.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:1500], order[1500:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    options = parser.parse_args()
    torch.manual_seed(0)

    train, test = digits()
    model = ResidualNet(options.width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    loss_of = nn.CrossEntropyLoss()
    step = 0
    while step < options.steps:
        for images, labels in DataLoader(train, batch_size=options.batch, shuffle=True, drop_last=True):
            if step == options.steps:
                break
            loss = loss_of(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 40 == 0 or step == options.steps - 1:
                print(f"step {step}: loss {loss.item():.3f}")
            step += 1

    model.eval()
    with torch.no_grad():
        images, labels = test.tensors
        correct = (model(images).argmax(dim=1) == labels).float().mean().item()
    print(f"accuracy on {len(labels)} held-out digits: {correct:.1%}")


if __name__ == "__main__":
    main()
