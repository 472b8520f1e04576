"""Signatures, copies and comparisons of arguments."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn

from deepseek_prof.optimizer.protocol import Call
from deepseek_prof.optimizer.values import copied, equal, signature, state_bytes, tensors
from tests.support.optimizing import Tied

Pair = namedtuple("Pair", "first second")


def test_signatures_tell_shapes_types_and_plain_values_apart() -> None:
    base = signature(((torch.ones(2, 3),), {"mask": None}))
    assert base == signature(((torch.zeros(2, 3),), {"mask": None}))
    others = [
        ((torch.ones(3, 2),), {"mask": None}),
        ((torch.ones(2, 3).half(),), {"mask": None}),
        ((torch.ones(2, 3),), {"mask": True}),
        ((torch.ones(2, 3),), {}),
    ]
    assert len({base, *map(signature, others)}) == 5


def test_a_copy_shares_nothing_and_keeps_types_layout_and_gradients() -> None:
    image = torch.randn(1, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(2, requires_grad=True)
    call = Call((Pair(image, [weight]), "text"), {"x": {"y": torch.arange(3)}})
    copy = copied(call)
    assert isinstance(copy.args[0], Pair)
    assert copy.args[0].first.is_contiguous(memory_format=torch.channels_last)
    assert copy.args[0].second[0].requires_grad
    assert copy.args[0].second[0].is_leaf
    assert equal(call.given, copy.given)
    copy.kwargs["x"]["y"] += 1
    assert not equal(dict(call.kwargs), dict(copy.kwargs))


def test_equal_takes_nan_for_itself_and_shapes_apart() -> None:
    nan = torch.tensor([1.0, float("nan")])
    assert equal(nan, nan.clone())
    assert not equal(nan, torch.tensor([1.0, 2.0]))
    assert not equal(torch.ones(2), torch.ones(1))
    assert not equal([torch.ones(2)], [torch.ones(2), torch.ones(2)])


def test_objects_that_refer_back_are_looked_through_once() -> None:
    class Cache:
        def __init__(self) -> None:
            self.keys = torch.ones(3)
            self.owner = [self]

    assert [path for path, _ in tensors((Cache(), Cache()))] == ["[0].keys", "[1].keys"]


def test_the_state_holds_shared_weights_once_and_buffers_that_are_not_saved() -> None:
    module = Tied()
    weights_bytes = 4 * (64 * 64 + 2 * 64)
    assert state_bytes(module) == weights_bytes
    module.register_buffer("mask", torch.ones(100, dtype=torch.bool), persistent=False)
    assert state_bytes(module) == weights_bytes + 100
    assert state_bytes(nn.ReLU()) is None


def test_the_state_of_quantized_weights_is_what_they_take() -> None:
    quantization = pytest.importorskip("torchao.quantization")
    module = nn.Linear(256, 64)
    quantization.quantize_(module, quantization.Int8WeightOnlyConfig())
    found = state_bytes(module)
    assert found is not None
    values_bytes, rows_bytes = 256 * 64, 64 * 4  # what belongs to a row: its scale, its zero point, its bias
    assert values_bytes + 2 * rows_bytes <= found <= values_bytes + 5 * rows_bytes


def test_tensors_are_found_with_their_paths() -> None:
    found = dict(tensors({"a": [torch.ones(1), Pair(torch.ones(2), 3)]}))
    assert {path: each.numel() for path, each in found.items()} == {".a[0]": 1, ".a[1][0]": 2}
