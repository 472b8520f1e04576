"""Gradients filled with zeros; tuned: dropped."""

import sys

import torch

torch.set_num_threads(1)

model = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(6)))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(8, 512)
for _ in range(25):
    optimizer.zero_grad(set_to_none="tuned" in sys.argv)
    model(x).mean().backward()
    optimizer.step()
