"""Which layers int8 damages most for the time it saves: the order in which they are kept in float.

Standard library and torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from deepseek_prof.optimizer.numerics import Outputs, compare
from deepseek_prof.optimizer.protocol import Call
from deepseek_prof.optimizer.values import copied, tensors

_LEAST_SCALE = 2**-24


@dataclass(frozen=True)
class Damage:
    """What int8 in one layer alone does to the module's outputs, and the work that it makes cheaper."""

    layer: str
    noise: float
    """Energy of the error over energy of the output."""
    multiplications: int

    @property
    def per_work(self) -> float:
        """The noise that a multiplication in int8 costs."""
        return self.noise / max(self.multiplications, 1)


def ranked(module: torch.nn.Module, calls: Sequence[Call]) -> tuple[Damage, ...]:
    """All linear and 2-d convolution layers that the calls reach, the most damage per work saved first.

    Simulates int8 in one layer at a time (input uint8 over its range, weights int8 per output channel), with one run of
    the module a layer and call.
    """
    references = [outputs(module, each) for each in calls]
    damages = []
    for name, multiplications in _multiplications(module, calls).items():
        with _simulated(module.get_submodule(name)):
            difference = compare(references, [outputs(module, each) for each in calls], None, "not asked for")
        noise = 0.0 if difference.sqnr_db is None else 10 ** (-difference.sqnr_db / 10)
        damages.append(Damage(name, noise, multiplications))
    return tuple(sorted(damages, key=lambda each: -each.per_work))


def fewest(most: int, passes: Callable[[int], bool]) -> int | None:
    """The smallest k in 0…``most`` for which ``passes(k)``, by bisection, taking it that more never does worse.

    None where not even ``most`` passes.
    """
    if passes(0):
        return 0
    low, high = 0, min(1, most)
    while low == high or not passes(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def outputs(module: torch.nn.Module, call: Call) -> Outputs:
    """The tensors that the module returns for copies of the call's arguments, which it may write to."""
    own = copied(call)
    return dict(tensors(module(*own.args, **own.kwargs)))


def is_product(layer: torch.nn.Module) -> bool:
    """Whether int8 has kernels for that layer."""
    return isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))


def _multiplications(module: torch.nn.Module, calls: Sequence[Call]) -> dict[str, int]:
    found: dict[str, int] = {}

    def counting(name: str) -> Callable[[Any, Any, torch.Tensor], None]:
        def count(layer: Any, inputs: Any, output: torch.Tensor) -> None:
            found[name] = found.get(name, 0) + output.numel() * layer.weight[0].numel()

        return count

    handles = [
        layer.register_forward_hook(counting(name)) for name, layer in module.named_modules() if is_product(layer)
    ]
    try:
        for each in calls:
            outputs(module, each)
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def _simulated(layer: torch.nn.Module) -> Iterator[None]:
    """The layer with its input and weights rounded to what int8 can hold."""
    weight = layer.weight
    assert isinstance(weight, torch.nn.Parameter)
    original = weight.data
    scale = (original.flatten(1).abs().amax(1) / 127).clamp_min(_LEAST_SCALE)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    handle = layer.register_forward_pre_hook(lambda _, inputs: (_rounded(inputs[0]), *inputs[1:]))
    try:
        weight.data = torch.fake_quantize_per_channel_affine(original, scale, zeros, 0, -128, 127)
        yield
    finally:
        handle.remove()
        weight.data = original


def _rounded(values: torch.Tensor) -> torch.Tensor:
    """uint8 with a zero point over the range of the values and zero."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max((high - low) / 255, _LEAST_SCALE)
    return torch.fake_quantize_per_tensor_affine(values, scale, round(-low / scale), 0, 255)
