"""Digits trained by several processes that average their gradients (DDP on gloo, CPU only).

torchrun --nproc-per-node 2 ddp_gloo.py, or python ddp_gloo.py for a world of one.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def build_model(width: int) -> nn.Sequential:
    """A multilayer perceptron from float32[N, 64] to logits of 10 digits."""
    return nn.Sequential(
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


def train(steps: int, batch: int, width: int) -> None:
    """Train on this process's share of the data; rank 0 prints the loss of the mean gradient's model."""
    torch.manual_seed(0)
    rank, world = dist.get_rank(), dist.get_world_size()
    bunch = load_digits()
    data = TensorDataset(torch.tensor(bunch.data, dtype=torch.float32) / 16, torch.tensor(bunch.target))
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data, world, rank, seed=0)
    model = DistributedDataParallel(build_model(width), gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    step = epoch = 0
    while step < steps:
        sampler.set_epoch(epoch)
        for images, labels in DataLoader(data, batch, sampler=sampler, drop_last=True):
            if step == steps:
                break
            logits = model(images)
            loss = loss_of(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 50 == 0 or step == steps - 1:
                seen = torch.stack([loss.detach(), (logits.argmax(dim=1) == labels).float().mean()])
                dist.all_reduce(seen)
                mean_loss, accuracy = (seen / world).tolist()
                if rank == 0:
                    print(f"step {step}: loss {mean_loss:.3f}, accuracy {accuracy:.1%} over {world} processes")
            step += 1
        epoch += 1


def end_process_group() -> None:
    # The model is part of a reference cycle and keeps the group, whose threads must end before Python does: one that
    # frees the last tensors afterwards aborts the process.
    gc.collect()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32, help="samples a process and step")
    parser.add_argument("--width", type=int, default=1024)
    options = parser.parse_args()

    torch.set_num_threads(1)
    if "RANK" in os.environ:  # torchrun tells rank, world size and where to meet
        dist.init_process_group("gloo")
        train(options.steps, options.batch, options.width)
        end_process_group()
    else:
        with tempfile.TemporaryDirectory() as folder:
            dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1)
            train(options.steps, options.batch, options.width)
            end_process_group()


if __name__ == "__main__":
    main()
