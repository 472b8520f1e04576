"""A program with nothing to mend: large operators, fused optimizer, channels-last, samples ready, one loss read."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def mlp() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 64))
    return model, torch.randn(20, 256, 512)


def network() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(
        nn.Conv2d(16, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 64),
    ).to(memory_format=torch.channels_last)
    return model, torch.randn(20, 8, 16, 32, 32)


def transformer() -> tuple[nn.Module, torch.Tensor]:
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, 2), torch.randn(20, 8, 64, 128)


torch.manual_seed(0)
model, data = {"mlp": mlp, "network": network, "transformer": transformer}[sys.argv[1]]()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
layout = torch.channels_last if data.dim() == 5 else torch.contiguous_format
for (batch,) in DataLoader(TensorDataset(data), batch_size=None):
    optimizer.zero_grad()
    loss = model(batch.contiguous(memory_format=layout)).square().mean()
    loss.backward()
    optimizer.step()
    print(loss.item())
