"""A matrix product and large element-wise operators on ``sys.argv[1]`` intra-op threads."""

import sys

import torch

torch.set_num_threads(int(sys.argv[1]))
model = torch.nn.Linear(512, 512)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(1024, 512)
for _ in range(25):
    optimizer.zero_grad()
    torch.nn.functional.gelu(model(x)).square().mean().backward()
    optimizer.step()
