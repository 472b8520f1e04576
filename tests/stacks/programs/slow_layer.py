"""A hot Python function between steps, and a layer whose time is a Python loop in its backward."""

import time

import torch
from torch import nn

STEPS = 20
# Samples are dated to within some milliseconds. Between the layer's forward and its backward there is more than that,
# so that what runs in one of them is never taken for the other.
PAUSE_S = 0.02


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def prepare():
    busy(0.03)


class Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        busy(0.03)
        return gradient * 2


class SlowLayer(nn.Module):
    def forward(self, x):
        return Slow.apply(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.slow = SlowLayer()
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.slow(self.first(x)))


if __name__ == "__main__":
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(STEPS):
        prepare()
        optimizer.zero_grad()
        loss = net(torch.randn(4, 8)).sum()
        time.sleep(PAUSE_S)
        loss.backward()
        optimizer.step()
