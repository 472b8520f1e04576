"""How modules stand in each other: sharing, containers, wrappers, several roots, names that change."""

from __future__ import annotations

import copy
import gc
import tempfile
from typing import Any

import torch
from harness import main
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(4, hidden)
        self.last = nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


class Other(Net):
    pass


class Chain(nn.Module):
    def __init__(self, length: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, 4) for _ in range(length))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


def train(model: nn.Module, times: int = 2) -> None:
    for _ in range(times):
        model(torch.randn(3, 4)).sum().backward()


def case_shared_by_two_parents() -> None:
    class Side(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = nn.Linear(4, 4)
            self.left, self.right = Side(inner), Side(inner)

        def forward(self, x: Tensor) -> Tensor:
            return self.right(self.left(x))

    train(Both())


def case_shared_under_two_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(4, 4)
            self.decoder = self.encoder

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.encoder(x))

    train(Twice())


def case_tied_weights() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(10, 4)
            self.head = nn.Linear(4, 10, bias=False)
            self.head.weight = self.token.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.token(tokens))

    model = Tied()
    model(torch.tensor([[1, 2, 3]])).sum().backward()


def case_sequential_in_module_list() -> None:
    class Stages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for stage in self.stages:
                x = stage(x)
            return x

    train(Stages())


def case_module_dict() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})

        def forward(self, x: Tensor) -> Tensor:
            return self.branches["a"](x) + self.branches["b"](x)

    train(Branches())


def case_names_that_are_no_c_strings() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.outer = nn.Sequential()
            for name in ("a\0b", "c\udc80d"):
                self.outer.add_module(name, nn.Sequential(nn.Linear(4, 4)))

        def forward(self, x: Tensor) -> Tensor:
            return self.outer(x)

    train(Odd())


def case_recurrent() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 8, num_layers=2, batch_first=True)
            self.gru = nn.GRU(8, 8, batch_first=True, bidirectional=True)
            self.cell = nn.GRUCell(16, 8)
            self.head = nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            halves = x.chunk(2, dim=1)
            first, state = self.lstm(halves[0])
            second, _ = self.lstm(halves[1], state)
            y, _ = self.gru(torch.cat([first, second], dim=1))
            hidden = torch.zeros(len(x), 8)
            for t in range(y.shape[1]):
                hidden = self.cell(y[:, t], hidden)
            return self.head(hidden)

    model = Recurrent()
    model(torch.randn(3, 6, 4)).sum().backward()


def case_attention_and_parametrization() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.smooth = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.smooth(self.attention(x, x, x)[0])

    model = Attend()
    model(torch.randn(2, 3, 4)).sum().backward()


def case_two_roots() -> None:
    first, second = Net(), Other(6)
    (first(torch.randn(3, 4)).sum() + second(torch.randn(3, 4)).sum()).backward()


def case_two_roots_without_collision() -> None:
    first, second = Net(), Chain(2)
    (first(torch.randn(3, 4)).sum() + second(torch.randn(3, 4)).sum()).backward()


def case_same_class_twice() -> None:
    first, second = Net(), Net()
    (first(torch.randn(3, 4)).sum() + second(torch.randn(3, 4)).sum()).backward()


def case_same_class_one_after_the_other() -> None:
    for _ in range(3):
        train(Net())


def case_averaged_copy() -> None:
    model = Net()
    train(model)
    average = copy.deepcopy(model).requires_grad_(False)
    for _ in range(2):
        train(model)
        average(torch.randn(3, 4))


def case_swa() -> None:
    model = Net()
    train(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    average(torch.randn(3, 4))


def case_distributed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1)
        train(nn.parallel.DistributedDataParallel(Net()), 3)
        gc.collect()  # the model is part of a reference cycle and keeps the group, whose threads must end before Python
        torch.distributed.destroy_process_group()


def case_renamed() -> None:
    model = Net()
    train(model, 1)
    model.renamed = model.first
    del model.first
    model.first = nn.Identity()
    model.forward = lambda x: model.last(model.renamed(x))  # type: ignore[method-assign]  # as programs do
    train(model, 1)


def case_list_shortened() -> None:
    model = Chain(3)
    train(model, 1)
    del model.parts[0]
    train(model, 1)


def case_list_lengthened() -> None:
    model = Chain(2)
    train(model, 1)
    model.parts.insert(0, nn.Linear(4, 4))
    model.parts.append(nn.Linear(4, 4))
    train(model, 1)


def case_list_reordered() -> None:
    model = Chain(2)
    train(model, 1)
    model.parts[0], model.parts[1] = model.parts[1], nn.Tanh()
    train(model, 1)


def case_sequential_shortened() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    train(model, 1)
    del model[0]
    model.insert(1, nn.ReLU())
    train(model, 1)


def case_replaced() -> dict[str, Any]:
    model = Net()
    train(model, 1)
    model.last = nn.Linear(8, 3)
    train(model, 1)
    return {"parameters": len(list(model.parameters()))}


if __name__ == "__main__":
    main(globals())
