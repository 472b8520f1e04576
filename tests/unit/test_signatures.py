"""Signatures: what the text says, and floating-point operations against PyTorch's own counter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import flop_counter

from deepseek_prof.recording.signatures import Signature, Tensor, flops, has_flop_formula, parse_signature

DTYPES = {
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Half": torch.float16,
    "Float": torch.float32,
    "Double": torch.float64,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Bool": torch.bool,
    "BFloat16": torch.bfloat16,
    "UInt16": torch.uint16,
    "Float8_e4m3fn": torch.float8_e4m3fn,
    "Float8_e5m2": torch.float8_e5m2,
}


def signature(*shapes: tuple[int, ...], **attributes: tuple[int, ...]) -> Signature:
    return Signature(tuple(Tensor("float32", shape) for shape in shapes), attributes)


@pytest.mark.parametrize(
    ("text", "shapes", "size_bytes"),
    [
        ("", "", 0),
        ("Float[]", "float32[]", 4),
        ("Float[8,64];Float[64,64]", "float32[8,64];float32[64,64]", 4 * (8 * 64 + 64 * 64)),
        ("float32[8,64]", "float32[8,64]", 4 * 8 * 64),
        ("Half[3];;Long[2]", "float16[3];;int64[2]", 22),
        ("BFloat16[0,5]", "bfloat16[0,5]", 0),
        ("Bool[7];ComplexDouble[1]", "bool[7];complex128[1]", 23),
        ("Float9_new[4]", "Float9_new[4]", None),
        ("Float[4000000000,4000000000]", "float32[4000000000,4000000000]", None),
    ],
)
def test_shapes_and_bytes(text: str, shapes: str, size_bytes: int | None) -> None:
    parsed = parse_signature(text)
    assert parsed is not None
    assert (parsed.shapes, parsed.size_bytes) == (shapes, size_bytes)


def test_attributes() -> None:
    parsed = parse_signature("Float[1]|stride=2,2|groups=4|padding=")
    assert parsed is not None
    assert parsed.attributes == {"stride": (2, 2), "groups": (4,), "padding": ()}


@pytest.mark.parametrize(
    "text",
    [
        "Float",
        "Float[",
        "Float[1",
        "Float[-1]",
        "Float[1,]",
        "Float[1] ",
        "Float[1]|x",
        "Float[1]|x=a",
        "[1]",
        f"Float[{'9' * 5000}]",
    ],
)
def test_a_text_of_another_form_is_no_signature(text: str) -> None:
    assert parse_signature(text) is None


def test_every_data_type_of_torch_has_its_size() -> None:
    for name, dtype in DTYPES.items():
        parsed = parse_signature(f"{name}[3]")
        assert parsed is not None
        assert parsed.shapes == f"{dtype}[3]".removeprefix("torch.")
        assert parsed.size_bytes == 3 * dtype.itemsize


A, B, BIAS = (5, 7), (7, 3), (3,)


@pytest.mark.parametrize(
    ("name", "of", "expected"),
    [
        ("aten::mm", signature(A, B), flop_counter.mm_flop(A, B)),
        ("aten::addmm", signature(BIAS, A, B), flop_counter.addmm_flop(BIAS, A, B)),
        ("aten::bmm", signature((4, *A), (4, *B)), flop_counter.bmm_flop((4, *A), (4, *B))),
        (
            "aten::baddbmm",
            signature((4, 5, 3), (4, *A), (4, *B)),
            flop_counter.baddbmm_flop((4, 5, 3), (4, *A), (4, *B)),
        ),
        ("aten::linear", signature((2, *A), (3, 7), BIAS), 2 * 2 * 5 * 7 * 3),
        ("aten::matmul", signature(A, B), 2 * 5 * 7 * 3),
        ("aten::matmul", signature((2, 1, *A), (4, *B)), 2 * 4 * 2 * 5 * 7 * 3),
        ("aten::matmul", signature((7,), B), 2 * 7 * 3),
        ("aten::mv", signature(A, (7,)), 2 * 5 * 7),
        ("aten::dot", signature((7,), (7,)), 2 * 7),
        (
            "aten::scaled_dot_product_attention",
            signature((2, 8, 16, 32), (2, 8, 24, 32), (2, 8, 24, 48)),
            flop_counter.sdpa_flop_count((2, 8, 16, 32), (2, 8, 24, 32), (2, 8, 24, 48)),
        ),
    ],
)
def test_operations(name: str, of: Signature, expected: int) -> None:
    assert flops(name, of) == expected


@pytest.mark.parametrize(
    ("x", "weight", "attributes"),
    [
        ((2, 3, 32, 32), (8, 3, 3, 3), {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}),
        ((2, 3, 33, 31), (8, 3, 5, 3), {"stride": (2, 3), "padding": (0, 1), "dilation": (2, 1)}),
        ((2, 8, 16, 16), (8, 1, 3, 3), {"stride": (1,), "padding": (1,), "dilation": (1,)}),  # depthwise
        ((4, 6, 50), (7, 6, 9), {"stride": (4,), "padding": (4,), "dilation": (1,)}),
    ],
)
def test_convolutions(x: tuple[int, ...], weight: tuple[int, ...], attributes: dict[str, Any]) -> None:
    spatial = len(weight) - 2
    functions = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}
    out = functions[spatial](torch.zeros(x), torch.zeros(weight), groups=x[1] // weight[1], **attributes)
    expected = flop_counter.conv_flop_count(list(x), list(weight), list(out.shape))
    assert flops(f"aten::conv{spatial}d", signature(x, weight, **attributes)) == expected
    assert flops("aten::convolution", signature(x, weight, **attributes, transposed=(0,))) == expected


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("aten::mm", signature(A)),
        ("aten::mm", signature(A, A)),
        ("aten::mm", signature((), ())),
        ("aten::mm", signature((1 << 40, 1 << 20), (1 << 20, 1 << 20))),
        ("aten::matmul", signature((2, *A), (3, *B))),
        ("aten::conv2d", signature((2, 3, 32, 32), (8, 3, 3, 3))),
        ("aten::conv2d", signature((2, 3), (8, 3, 3, 3), stride=(1, 1))),
        ("aten::conv2d", signature((2, 3, 32, 32), (8, 3, 3, 3), stride=(1, 1), padding=(1, 1, 1))),
        ("aten::convolution", signature((2, 3, 32, 32), (8, 3, 3, 3), stride=(1, 1), transposed=(1,))),
        ("aten::scaled_dot_product_attention", signature((2, 3), (4, 5), (4, 5))),
        ("aten::conv2d", signature((2, 3, 32, 32), (8, 3, 3, 3), stride=(0, 0))),
        ("aten::conv2d", signature((2, 3, 1, 1), (8, 3, 9, 9), stride=(2, 2))),
        ("aten::relu", signature(A)),
    ],
)
def test_what_a_signature_does_not_determine_has_no_count(name: str, of: Signature) -> None:
    assert flops(name, of) is None


def test_names_with_a_formula() -> None:
    assert has_flop_formula("aten::mm")
    assert not has_flop_formula("aten::relu")
