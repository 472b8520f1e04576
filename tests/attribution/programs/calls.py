"""How modules are called: in hooks, threads, generators, exceptions, copies, checkpoints, and not at all."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import torch
from harness import main
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.inner(x))


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 1)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor, *, fail: str = "") -> Tensor:
        y = self.inner(x if fail != "operator" else x[:, :2])
        if fail == "python":
            raise ValueError(fail)
        return self.last(y)


def case_checkpoint_reentrant() -> None:
    model = Checkpointed(reentrant=True)
    for _ in range(2):
        model(torch.randn(3, 4, requires_grad=True)).sum().backward()


def case_checkpoint_non_reentrant() -> None:
    model = Checkpointed(reentrant=False)
    for _ in range(2):
        model(torch.randn(3, 4)).sum().backward()


def case_functional_only() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    for _ in range(2):
        F.linear(torch.randn(3, 4), weight).relu().sum().backward()


def case_functional_beside_a_module() -> None:
    model, weight = Net(), torch.randn(2, 2, requires_grad=True)
    (model(torch.randn(3, 4)) @ weight).sum().backward()


def case_forward_hooks() -> None:
    model = Net()
    model.first.register_forward_pre_hook(lambda _module, inputs: (inputs[0].sinh(),))
    model.first.register_forward_hook(lambda _module, _inputs, output: output.cosh())
    model.last.register_full_backward_hook(lambda _module, _inputs, outputs: (outputs[0].new_ones(3, 8).erf(),))
    for _ in range(2):
        model(torch.randn(3, 4)).sum().backward()


def case_own_call() -> None:
    class Doubling(Net):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs).sinh()

    class Bypassing(Net):
        def __call__(self, x: Tensor) -> Tensor:
            return self.forward(x).cosh()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.doubling, self.bypassing = Doubling(), Bypassing()

        def forward(self, x: Tensor) -> Tensor:
            return self.doubling(x) + self.bypassing(x)

    model = Both()
    model(torch.randn(3, 4)).sum().backward()


def case_patched_call() -> dict[str, Any]:
    before = nn.Module.__call__
    seen = []

    def patched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        seen.append(type(self).__name__)
        return before(self, *args, **kwargs)

    nn.Module.__call__ = patched  # type: ignore[method-assign]  # as other tools do
    model = Net()
    model(torch.randn(3, 4)).sum().backward()
    return {"seen": seen}


def case_no_grad() -> None:
    model = Net()
    with torch.no_grad():
        model(torch.randn(3, 4))
    with torch.inference_mode():
        model(torch.randn(3, 4))


def case_exceptions() -> dict[str, Any]:
    model = Failing()
    caught = []
    for fail in ("operator", "python", ""):
        try:
            model(torch.randn(3, 4), fail=fail).sum().backward()
        except (RuntimeError, ValueError) as error:
            caught.append(type(error).__name__)
    return {"caught": caught}


def case_exception_in_backward() -> dict[str, Any]:
    def refuse(_grad: Tensor) -> None:
        raise ValueError

    model, caught = Net(), 0
    handle = model.first.weight.register_hook(refuse)
    try:
        model(torch.randn(3, 4)).sum().backward()
    except ValueError:
        caught += 1
    handle.remove()
    model(torch.randn(3, 4)).sum().backward()
    return {"caught": caught}


def case_generator() -> dict[str, Any]:
    class Streaming(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Iterator[Tensor]:
            for row in x:
                yield self.inner(row).sinh()

    model, other = Streaming(), Net()
    total = torch.zeros(())
    rows = 0
    for row in model(torch.randn(3, 4)):
        rows += 1
        total = total + row.sum() + other(row).sum()
    total.backward()
    return {"rows": rows}


def case_threads() -> dict[str, Any]:
    model, errors = Net(), []

    def work() -> None:
        try:
            for _ in range(20):
                torch.autograd.grad(model(torch.randn(3, 4)).sum(), list(model.parameters()))
        except Exception as error:  # noqa: BLE001  # reported to the test
            errors.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"errors": errors}


def case_copies() -> dict[str, Any]:
    model = Net()
    x = torch.randn(3, 4)
    expected = model(x)
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),  # our own bytes
        torch.load(stream, weights_only=False),
    ]
    return {"same": [bool(torch.equal(each(x), expected)) for each in copies], "own_state": sorted(vars(copies[1]))}


def case_method_other_than_forward() -> None:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
            self.decoder = nn.Linear(4, 4)

        def encode(self, x: Tensor) -> Tensor:
            return self.encoder(x)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.encode(x))

    model = Autoencoder()
    model(torch.randn(3, 4)).sum().backward()
    model.encode(torch.randn(3, 4)).sum().backward()


if __name__ == "__main__":
    main(globals())
