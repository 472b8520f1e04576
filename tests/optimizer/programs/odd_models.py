"""Models that optimizers stumble over, each as a program: ``python odd_models.py NAME``."""

import os
import signal
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Output:
    logits: torch.Tensor
    extra: dict


class Convolutions(nn.Module):
    """A convolution with its normalization; subclasses change what happens around them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)

    def features(self, x):
        return torch.relu(self.norm(self.conv(x)))

    def forward(self, x):
        return self.features(x).mean((2, 3))


def is_moved(x):
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class KilledWhenMoved(Convolutions):
    def forward(self, x):
        if is_moved(x):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class HangsWhenMoved(Convolutions):
    def forward(self, x):
        while is_moved(x):
            time.sleep(1)
        return super().forward(x)


class TooLargeWhenMoved(Convolutions):
    def forward(self, x):
        return super().forward(x) + (torch.empty(1 << 50).sum() if is_moved(x) else 0)


class WrongWhenMoved(Convolutions):
    def forward(self, x):
        return super().forward(x) * (1.5 if is_moved(x) else 1)


class DataDependent(Convolutions):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class KeywordsOnly(Convolutions):
    def forward(self, *, image, scale):
        return super().forward(image) * scale


class Tied(Convolutions):
    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(3, 16, 3, padding=1)
        self.again.weight = self.conv.weight

    def forward(self, x):
        return super().forward(x) + self.again(x).mean((2, 3))


class Mutates(Convolutions):
    def forward(self, x):
        x += 1
        return super().forward(x)


class Dataclass(Convolutions):
    def forward(self, x):
        return Output(super().forward(x), {"features": self.features(x)})


class Unexportable(Convolutions):
    def forward(self, x):
        os.environ["SEEN"] = str(x.numpy().tobytes()[:1])
        return super().forward(x)


class ReturnsNothing(Convolutions):
    def forward(self, x):
        self.seen = super().forward(x)


class Drifts(Convolutions):
    """Keeps a state that changes what it returns."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * self.calls


class LabelsOnly(Convolutions):
    def forward(self, x):
        return super().forward(x).argsort(descending=is_moved(x))


def main(name):
    model = globals()[name]().eval()
    with torch.no_grad():
        for index in range(12):
            image = torch.randn(1 + index % 2, 3, 24, 24)
            if name == "KeywordsOnly":
                model(image=image, scale=2.0)
            else:
                model(image)


if __name__ == "__main__":
    main(sys.argv[1])
