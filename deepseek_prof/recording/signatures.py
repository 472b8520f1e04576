"""What the tensor signature of a span says: shapes, bytes and floating-point operations.

A signature lists the tensors that an operator was given, ``float32[8,64];float32[64,64]``, an empty part for an
undefined one. Attributes that its work depends on may follow after ``|``: ``…|stride=2,2|padding=1,1|dilation=1,1``.
The recorder writes data types by their C++ names (``Float``); here they become the names of Python.

Operations are counted as two per multiply and add. The formulas are those of the operators' definitions, for operands
A of m x k, B of k x n: ``2 m k n``, times the batch; the bias of ``addmm`` and ``linear`` is left out, as in
``torch.utils.flop_counter``. Convolution: ``2 · outputs · (C_in / groups) · ∏ kernel``. Attention with queries
[…, L, E], keys [S, E] and values [S, Ev]: ``2 L S (E + Ev)`` times the batch and heads, masks not considered. What a
signature does not determine (a convolution without its stride) has no count rather than a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

# By c10::ScalarType's names: the Python name and the size of an element.
_DTYPES = {
    "Byte": ("uint8", 1),
    "Char": ("int8", 1),
    "Short": ("int16", 2),
    "Int": ("int32", 4),
    "Long": ("int64", 8),
    "Half": ("float16", 2),
    "Float": ("float32", 4),
    "Double": ("float64", 8),
    "ComplexHalf": ("complex32", 4),
    "ComplexFloat": ("complex64", 8),
    "ComplexDouble": ("complex128", 16),
    "Bool": ("bool", 1),
    "BFloat16": ("bfloat16", 2),
    "UInt16": ("uint16", 2),
    "UInt32": ("uint32", 4),
    "UInt64": ("uint64", 8),
    "QInt8": ("qint8", 1),
    "QUInt8": ("quint8", 1),
    "QInt32": ("qint32", 4),
    "Float8_e5m2": ("float8_e5m2", 1),
    "Float8_e4m3fn": ("float8_e4m3fn", 1),
    "Float8_e5m2fnuz": ("float8_e5m2fnuz", 1),
    "Float8_e4m3fnuz": ("float8_e4m3fnuz", 1),
}
_ELEMENT_BYTES = dict(_DTYPES.values())
_TENSOR = re.compile(r"(\w+)\[(\d{1,19}(?:,\d{1,19})*)?\]", re.ASCII)
_NUMBERS = re.compile(r"(\d{1,19}(,\d{1,19})*)?", re.ASCII)
_MAX_INT64 = (1 << 63) - 1

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of a signature: data type by its Python name, and shape."""

    dtype: str
    shape: Shape

    @property
    def size_bytes(self) -> int | None:
        """Bytes of its elements, whatever the strides; None for an unknown data type."""
        element = _ELEMENT_BYTES.get(self.dtype)
        return None if element is None else element * prod(self.shape)


@dataclass(frozen=True)
class Signature:
    """A parsed signature; an undefined tensor is None."""

    tensors: tuple[Tensor | None, ...]
    attributes: dict[str, Shape] = field(default_factory=dict)

    @property
    def shapes(self) -> str:
        """The tensors as text, ``float32[8,64];;float32[64]``."""
        return ";".join("" if t is None else f"{t.dtype}[{','.join(map(str, t.shape))}]" for t in self.tensors)

    @property
    def size_bytes(self) -> int | None:
        """Bytes of all tensors together; None if one has an unknown data type or the sum does not fit 63 bits."""
        sizes = [tensor.size_bytes for tensor in self.tensors if tensor is not None]
        if any(size is None for size in sizes):
            return None
        total = sum(size for size in sizes if size is not None)
        return total if total <= _MAX_INT64 else None


def parse_signature(text: str) -> Signature | None:
    """The signature, or None if the text is not one (it came from a newer recorder)."""
    listing, *attribute_texts = text.split("|")
    tensors: list[Tensor | None] = []
    for part in listing.split(";") if listing else ():
        if not part:
            tensors.append(None)
            continue
        match = _TENSOR.fullmatch(part)
        if match is None:
            return None
        dtype = _DTYPES.get(match[1], (match[1], 0))[0]
        tensors.append(Tensor(dtype, _integers(match[2] or "")))
    attributes = {}
    for attribute in attribute_texts:
        name, equals, values = attribute.partition("=")
        if not equals or _NUMBERS.fullmatch(values) is None:
            return None
        attributes[name] = _integers(values)
    return Signature(tuple(tensors), attributes)


def _integers(text: str) -> Shape:
    return tuple(int(digits) for digits in text.split(",")) if text else ()


def has_flop_formula(name: str) -> bool:
    """Whether operators of this name have a formula; of nested ones only the outermost shall be counted."""
    return name in _FORMULAS


def flops(name: str, signature: Signature) -> int | None:
    """Floating-point operations of one call of the operator ``name`` (``aten::mm``); None where they are unknown."""
    formula = _FORMULAS.get(name)
    if formula is None:
        return None
    shapes = [() if tensor is None else tensor.shape for tensor in signature.tensors]
    try:
        count = formula(shapes, signature.attributes)
    except (IndexError, ValueError, ZeroDivisionError):
        return None  # not the tensors or attributes that the operator takes: another overload
    return count if count is not None and 0 <= count <= _MAX_INT64 else None


_Formula: TypeAlias = "Callable[[Sequence[Shape], dict[str, Shape]], int | None]"


def _product(a: Shape, b: Shape) -> int | None:
    """``A @ B`` under torch.matmul's rules: vectors, matrices and broadcast batches."""
    if not a or not b:
        return None
    if len(a) == 1:
        a = (1, *a)
    if len(b) == 1:
        b = (*b, 1)
    if a[-1] != b[-2]:
        return None
    rank = max(len(a), len(b)) - 2
    batch_a = (1,) * (rank - len(a) + 2) + a[:-2]
    batch_b = (1,) * (rank - len(b) + 2) + b[:-2]
    if any(x != y and 1 not in (x, y) for x, y in zip(batch_a, batch_b, strict=True)):
        return None
    batch = prod(y if x == 1 else x for x, y in zip(batch_a, batch_b, strict=True))
    return 2 * batch * a[-2] * a[-1] * b[-1]


def _matmul(shapes: Sequence[Shape], _attributes: dict[str, Shape]) -> int | None:
    return _product(shapes[0], shapes[1])


def _matmul_with_addend(shapes: Sequence[Shape], _attributes: dict[str, Shape]) -> int | None:
    return _product(shapes[1], shapes[2])


def _linear(shapes: Sequence[Shape], _attributes: dict[str, Shape]) -> int | None:
    return _product(shapes[0], shapes[1][::-1])


def _attention(shapes: Sequence[Shape], _attributes: dict[str, Shape]) -> int | None:
    query, key, value = shapes[:3]
    if min(len(query), len(key), len(value)) < 2 or key[-2] != value[-2] or query[-1] != key[-1]:
        return None
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _convolution(shapes: Sequence[Shape], attributes: dict[str, Shape]) -> int | None:
    source, weight = shapes[:2]
    spatial = len(weight) - 2
    if spatial < 1 or len(source) not in (spatial + 1, spatial + 2) or "stride" not in attributes:
        return None
    if attributes.get("transposed", (0,)) != (0,):
        return None  # counted by the inputs, not the outputs
    stride, padding, dilation = (
        _per_dimension(attributes.get(name, default), spatial)
        for name, default in (("stride", ()), ("padding", (0,)), ("dilation", (1,)))
    )
    outputs = [
        (size + 2 * pad - spread * (kernel - 1) - 1) // step + 1
        for size, pad, spread, kernel, step in zip(
            source[-spatial:], padding, dilation, weight[2:], stride, strict=True
        )
    ]
    if min(outputs) < 0:
        return None
    batch = source[0] if len(source) == spatial + 2 else 1
    # A weight is [C_out, C_in / groups, *kernel].
    return 2 * batch * prod(outputs) * prod(weight)


def _per_dimension(values: Shape, dimensions: int) -> Shape:
    return values * dimensions if len(values) == 1 else values


_FORMULAS: dict[str, _Formula] = {
    **dict.fromkeys(("aten::mm", "aten::bmm", "aten::matmul", "aten::mv", "aten::dot", "aten::vdot"), _matmul),
    **dict.fromkeys(
        ("aten::addmm", "aten::addmm_", "aten::baddbmm", "aten::baddbmm_", "aten::addmv", "aten::addmv_"),
        _matmul_with_addend,
    ),
    "aten::linear": _linear,
    **dict.fromkeys(
        (
            "aten::scaled_dot_product_attention",
            "aten::_scaled_dot_product_flash_attention",
            "aten::_scaled_dot_product_flash_attention_for_cpu",
            "aten::_scaled_dot_product_efficient_attention",
            "aten::_scaled_dot_product_cudnn_attention",
        ),
        _attention,
    ),
    **dict.fromkeys(("aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::convolution"), _convolution),
}
