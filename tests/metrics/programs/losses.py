"""Losses of every kind; prints what they were, bit by bit, and what was learned from them."""

import json
import struct
import sys

import torch


def exact(value):
    return struct.pack("<d", float(value)).hex()


torch.manual_seed(0)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
told = {}


def tell(name, value):
    told.setdefault(name, []).append(exact(value))


for _ in range(6):
    inputs = torch.randn(8, 4)

    loss = model(inputs).square().mean()
    loss.backward()
    tell("loss", loss.item())

    half = model(inputs).to(torch.bfloat16).abs().mean()
    half.backward()
    tell("half", half.item())

    small = model(inputs).to(torch.float16).abs().mean()
    small.backward()
    tell("small", small.item())

    double = model(inputs).double().abs().mean()
    double.backward(retain_graph=True)
    tell("double", double.item())
    double.backward()
    tell(f"double (losses.py:{sys._getframe().f_lineno - 1})", double.item())

    for part in inputs.split(4):  # gradients are accumulated over two parts
        shared = model(part).square().mean() / 2
        shared.backward()
        tell("shared", shared.item())

    vector = model(inputs).square().sum(1)
    vector.backward(torch.ones(8) / 8)

    first, second = model(inputs).mean(), model(inputs).std()
    torch.autograd.backward([first, second])
    nameless = f"loss (losses.py:{sys._getframe().f_lineno - 1})"
    tell(f"{nameless}[0]", first.item())
    tell(f"{nameless}[1]", second.item())

    penalty = torch.autograd.grad(model(inputs).square().mean(), model.weight)[0]

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    true_loss = model(inputs).abs().mean()
    scaler.scale(true_loss).backward()
    tell("true_loss", true_loss.item())

    optimizer.step()
    optimizer.zero_grad()

told["weights"] = [exact(each) for each in (*model.weight.flatten().tolist(), penalty.sum().item())]
print(json.dumps(told))
