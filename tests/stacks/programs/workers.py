"""A data loader of two workers whose time goes into one Python function."""

import time

import torch
from torch.utils.data import DataLoader, Dataset


def decode():
    end = time.perf_counter() + 0.04
    while time.perf_counter() < end:
        pass
    return torch.ones(4)


class Slow(Dataset):
    def __len__(self):
        return 60

    def __getitem__(self, index):
        return decode()


if __name__ == "__main__":
    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for batch in DataLoader(Slow(), batch_size=4, num_workers=2):
        optimizer.zero_grad()
        net(batch).sum().backward()
        optimizer.step()
