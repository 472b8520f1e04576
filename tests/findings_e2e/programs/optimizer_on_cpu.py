"""AdamW with foreach, then (``loop``) without, on CPU; tuned: fused."""

import sys

import torch

torch.set_num_threads(1)

how = {"tuned": {"fused": True}, "loop": {"foreach": False}}.get(sys.argv[-1], {"foreach": True})
layers = [torch.nn.Linear(256, 256) for _ in range(12)]
model = torch.nn.Sequential(*layers)
optimizer = torch.optim.AdamW(model.parameters(), **how)
x = torch.randn(64, 256)
for _ in range(25):
    optimizer.zero_grad()
    model(x).mean().backward()
    optimizer.step()
