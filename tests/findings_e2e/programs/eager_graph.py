"""A long element-wise chain between two matrix products; tuned: the same products without the chain."""

import sys

import torch

torch.set_num_threads(1)


class Chain(torch.nn.Module):
    """A product, an activation written out by hand, a product."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = torch.nn.Linear(16, 1024)
        self.leave = torch.nn.Linear(1024, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.enter(x)
        if "tuned" in sys.argv:
            return self.leave(torch.nn.functional.gelu(h))
        inner = 0.7978845608 * (h + 0.044715 * h * h * h)
        return self.leave(0.5 * h * (1.0 + torch.tanh(inner)))


model = Chain()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
x = torch.randn(256, 16)
for _ in range(20):
    optimizer.zero_grad()
    model(x).mean().backward()
    optimizer.step()
