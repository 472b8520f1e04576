"""Models that are called with two rows each time: ``python batched_models.py NAME``."""

import sys

import torch
from torch import nn


class Rows(nn.Module):
    """Wide layers, which read their weights once whatever the number of rows."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(768, 768) for _ in range(4)))

    def forward(self, x):
        return {"scores": self.layers(x)}


class Mixing(Rows):
    """Each row gets what the others are."""

    def forward(self, x):
        return super().forward(x)["scores"] - x.sum(0)


class Scalar(Rows):
    """One result for all rows."""

    def forward(self, x):
        return super().forward(x)["scores"].mean()


class Table(Rows):
    """An argument that has no rows."""

    def forward(self, x, table):
        return super().forward(x)["scores"] + table.sum()


def main(name):
    torch.set_num_threads(1)
    model = globals()[name]().eval()
    others = (torch.randn(5, 3),) if name == "Table" else ()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(2, 768), *others)


if __name__ == "__main__":
    main(sys.argv[1])
