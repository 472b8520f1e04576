"""One step in which the program does something else, as writing a checkpoint to a slow disk; tuned: without it."""

import sys
import time

import torch

torch.set_num_threads(1)

model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(128, 256)
for step in range(40):
    optimizer.zero_grad()
    loss = model(x).mean()
    if step == 25 and "tuned" not in sys.argv:
        time.sleep(1.0)
    loss.backward()
    optimizer.step()
