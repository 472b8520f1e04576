"""A loader that takes longer than the step; tuned: the samples are prepared once."""

import sys
import time

import torch
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)


class Samples(Dataset[torch.Tensor]):
    """Samples that are slow to read, as from a distant disk."""

    def __init__(self, prepared: bool) -> None:
        self.samples = torch.randn(120, 256) if prepared else None

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.samples is not None:
            return self.samples[index]
        time.sleep(0.004)
        return torch.full((256,), float(index))


model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, fused=True)
for batch in DataLoader(Samples(prepared="tuned" in sys.argv), batch_size=8):
    optimizer.zero_grad()
    model(batch.repeat(16, 1)).square().mean().backward()
    optimizer.step()
