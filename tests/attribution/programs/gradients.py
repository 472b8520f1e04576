"""What autograd and optimizers do beyond one forward and one backward."""

from __future__ import annotations

from typing import Any

import torch
from harness import main
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sinh()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.cosh()


def case_custom_function() -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Cube.apply(x)

    model = nn.Sequential(nn.Linear(4, 4), Layer(), nn.Linear(4, 1))
    for _ in range(2):
        model(torch.randn(3, 4)).sum().backward()


def case_double_backward() -> None:
    model = Net()
    x = torch.randn(3, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    slope.square().sum().backward()


def case_retained_graph() -> None:
    model = Net()
    loss = model(torch.randn(3, 4)).sum()
    for _ in range(3):
        loss.backward(retain_graph=True)


def case_functional_call() -> dict[str, Any]:
    model = Net()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(model, values, (x,)).square().sum()

    x = torch.randn(3, 4)
    one = torch.func.grad(loss)(parameters, x)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    return {"agree": bool(torch.allclose(one["first.weight"], each["first.weight"].sum(0), atol=1e-5))}


def case_closure() -> None:
    model = Net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x, y = torch.randn(16, 4), torch.randn(16, 1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)


def case_scaler() -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(4):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(torch.randn(3, 4)).float().sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def case_accumulation() -> None:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        for _ in range(4):
            (model(torch.randn(3, 4)).sum() / 4).backward()
        optimizer.step()


def case_inference() -> None:
    model = Net().eval()
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(3, 4))


def case_alternating_optimizers() -> None:
    first, second = Net(), Net()
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1) for each in (first, second)]
    for _ in range(3):
        for model, optimizer in zip((first, second), optimizers, strict=True):
            model(torch.randn(3, 4)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()


def case_autograd_functional() -> None:
    model = Net()
    torch.autograd.functional.hessian(lambda x: model(x).sum(), torch.randn(2, 4))


def case_module_in_a_tensor_hook() -> None:
    model, extra = Net(), nn.Linear(8, 8)
    hidden = model.first(torch.randn(3, 4))
    hidden.register_hook(extra)
    model.last(hidden).sum().backward()


if __name__ == "__main__":
    main(globals())
