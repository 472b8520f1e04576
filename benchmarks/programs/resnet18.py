"""ResNet-18 (He et al. 2015, table 1) in training on random images: an ordinary program, milliseconds an operator."""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional

from benchmarks.programs.measured import add_arguments, run_steps

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
CLASSES = 100
BATCH = 4
SIZE = 96


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False)).append(nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """Stem, four stages of two blocks, classifier: 11 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.stages = nn.Sequential()
        inputs = 64
        for outputs, stride in STAGES:
            self.stages.append(BasicBlock(inputs, outputs, stride)).append(BasicBlock(outputs, outputs, 1))
            inputs = outputs
        self.classifier = nn.Linear(inputs, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.stages(self.stem(x)).mean((2, 3)))
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = ResNet18()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(BATCH, 3, SIZE, SIZE)
    targets = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), targets).backward()
        optimizer.step()

    run_steps(step, arguments)


if __name__ == "__main__":
    main()
