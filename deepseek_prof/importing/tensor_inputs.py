"""The tensors that operators were given, where a trace tells them: shapes, bytes and floating-point operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.signatures import Signature, flops, parse_signature

NO_SIGNATURE = 0
"""The number of a call whose tensors are not known."""
_SIGNATURE_BITS = 32
_SCALAR_TYPES = {
    "unsigned char": "Byte",
    "signed char": "Char",
    "char": "Char",
    "short": "Short",
    "short int": "Short",
    "int": "Int",
    "long": "Long",
    "long int": "Long",
    "float": "Float",
    "double": "Double",
    "bool": "Bool",
    "c10::Half": "Half",
    "c10::BFloat16": "BFloat16",
    "c10::complex<float>": "ComplexFloat",
    "c10::complex<double>": "ComplexDouble",
    "c10::Float8_e5m2": "Float8_e5m2",
    "c10::Float8_e4m3fn": "Float8_e4m3fn",
}
"""Kineto's names of element types (caffe2::TypeMeta) as c10::ScalarType has them."""
_LISTS = frozenset({"TensorList", "GenericList"})


def signature_of(dims: bytes, types: bytes) -> Signature | None:
    """The signature of the JSON texts of ``Input Dims`` and ``Input type``; None where they do not tell all tensors."""
    try:
        shapes, names = msgspec.json.decode(dims), msgspec.json.decode(types)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(shapes, list) or not isinstance(names, list) or len(shapes) != len(names):
        return None
    parts = []
    for shape, name in zip(shapes, names, strict=True):
        if name in _LISTS:
            return None  # older traces leave the shapes of lists out
        if isinstance(name, str) and name in _SCALAR_TYPES:
            if not _is_shape(shape):
                return None
            parts.append(f"{_SCALAR_TYPES[name]}[{','.join(map(str, shape))}]")
    return parse_signature(";".join(parts)) if parts else None


def tensor_columns(
    contexts: ContextTable,
    numbers: npt.NDArray[np.int32],
    signature_of_span: npt.NDArray[np.int32],
    signatures: Sequence[Signature | None],
) -> dict[str, pa.Array]:
    """The columns ``bytes``, ``flops`` and ``shapes`` of spans, each of a context and with a signature's tensors."""
    pairs, pair_of_span = np.unique(
        numbers.astype(np.int64) << _SIGNATURE_BITS | signature_of_span, return_inverse=True
    )
    sizes: list[int | None] = []
    operations: list[int | None] = []
    shapes: list[str | None] = []
    for pair in pairs.tolist():
        known = signatures[pair & ((1 << _SIGNATURE_BITS) - 1)]
        operator = None if known is None else contexts.counted_operator(pair >> _SIGNATURE_BITS)
        sizes.append(None if known is None else known.size_bytes)
        operations.append(None if known is None or operator is None else flops(operator, known))
        shapes.append(None if known is None else known.shapes)
    index = pa.array(pair_of_span.reshape(-1))
    return {
        "bytes": pa.array(sizes, pa.int64()).take(index),
        "flops": pa.array(operations, pa.int64()).take(index),
        "shapes": pa.array(shapes, pa.string()).take(index),
    }


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(isinstance(each, int) and each >= 0 for each in shape)
