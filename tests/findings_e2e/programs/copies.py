"""Constants in float64 converted in every step; tuned: converted once."""

import sys

import torch

torch.set_num_threads(1)

model = torch.nn.Linear(512, 8)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
parts = [torch.randn(256, 512, dtype=torch.float64) for _ in range(12)]
if "tuned" in sys.argv:
    parts = [part.float() for part in parts]
for _ in range(20):
    optimizer.zero_grad()
    loss = sum(model(part.float()).mean() for part in parts)
    loss.backward()
    optimizer.step()
