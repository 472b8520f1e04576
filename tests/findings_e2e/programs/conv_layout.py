"""Convolutions on contiguous images; tuned: channels-last."""

import sys

import torch
from torch import nn

torch.set_num_threads(1)

layout = torch.channels_last if "tuned" in sys.argv else torch.contiguous_format
model = nn.Sequential(
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(32, 10),
).to(memory_format=layout)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(4, 16, 32, 32).to(memory_format=layout)
for _ in range(20):
    optimizer.zero_grad()
    model(x).mean().backward()
    optimizer.step()
