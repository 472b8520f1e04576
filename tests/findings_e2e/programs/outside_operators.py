"""Metrics in plain Python in every step; tuned: without them."""

import sys

import torch

torch.set_num_threads(1)

model = torch.nn.Linear(128, 128)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(256, 128)
for _ in range(20):
    optimizer.zero_grad()
    loss = model(x).mean()
    loss.backward()
    if "tuned" not in sys.argv:
        total = sum(index * index % 7 for index in range(200_000))
    optimizer.step()
