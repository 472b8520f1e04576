"""Training programs, each a name: ``python trainings.py NAME``; they misbehave where a pass has changed them."""

import os
import random
import signal
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

STEPS = 40


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return x + self.second(torch.tanh(self.first(x)).tanh().tanh())


class Net(nn.Module):
    def __init__(self, width=32, depth=3, dropout=0.1):
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, 4)

    def forward(self, x):
        return self.out(self.norm(self.dropout(self.blocks(x))))


class Stream(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.randn(32), 0


class Slow(TensorDataset):
    """Reads as from a disk that lets wait: workers wait at once."""

    def __getitem__(self, index):
        time.sleep(0.005)
        return super().__getitem__(index)


def when_fused(name):
    """What the programs of that name do once their optimizer is fused."""
    if name == "Raises":
        raise RuntimeError("no [bold]fused[/bold] weights here")
    if name == "Killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "Hangs":
        time.sleep(600)
    if name == "TooLarge":
        torch.empty(1 << 50)
    if name == "EndsEarly":
        sys.exit(0)


def optimizer_of(name, model):
    if name == "RMSprop":
        return torch.optim.RMSprop(model.parameters(), lr=1e-3)
    if name == "Chosen":
        return torch.optim.AdamW(model.parameters(), lr=1e-3, foreach=True)
    if name == "SGD":
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=3e-3)


def batches(name):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(400, 32, generator=generator)
    data = (Slow if name == "Slow" else TensorDataset)(inputs, inputs[:, :4].argmax(1))
    if name == "Stream":
        yield from DataLoader(Stream(), 16)
    while True:
        if name == "Tensors":
            yield inputs[:16], data.tensors[1][:16]
        else:
            yield from DataLoader(data, 16, shuffle=True)


def main(name):
    torch.set_num_threads(1)
    if name == "Unseeded":
        torch.manual_seed(random.SystemRandom().randrange(1 << 30))
    width = 256 if name == "Wide" else 32
    model = Net(width, depth=8 if name == "Wide" else 3, dropout=0.0 if name == "Tensors" else 0.1)
    optimizer = optimizer_of(name, model)
    fused = bool(optimizer.param_groups[0].get("fused"))
    if name == "StopsLearning" and fused:
        optimizer.param_groups[0]["lr"] = 0.0
    if name == "SlightlyOff" and fused:
        optimizer.param_groups[0]["lr"] *= 1.01
    for step, (x, y) in enumerate(batches(name)):
        if step == STEPS:
            break
        if fused and step == 8:
            when_fused(name)
        inputs, labels = (x.repeat(32, 8), y.repeat(32)) if name == "Wide" else (x, y)
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":
    main(sys.argv[1])
