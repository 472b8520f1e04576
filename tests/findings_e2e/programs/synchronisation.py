"""The loss of every sample read in every step; tuned: the losses stay tensors, read at the end."""

import sys

import torch

torch.set_num_threads(1)

model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(256, 64)
seen = torch.zeros(256)
values: list[float] = []
for _ in range(25):
    optimizer.zero_grad()
    losses = model(x).square().mean(dim=1)
    losses.mean().backward()
    if "tuned" in sys.argv:
        seen += losses.detach()
    else:
        values = [loss.item() for loss in losses.detach()]
    optimizer.step()
values = seen.tolist() or values
