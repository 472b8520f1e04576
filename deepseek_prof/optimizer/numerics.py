"""How far a candidate's outputs are from eager's and from a float64 reference. Standard library and torch only."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from deepseek_prof.optimizer.protocol import Call, Captured
from deepseek_prof.optimizer.values import mapped, tensors

EXACT_RMSE_FACTOR = 8.0
"""An exact pass may be this much further from float64 than eager is: sums in another order."""
EXACT_SQNR_DB = 90.0
LOSSY_SQNR_DB = 20.0
LOSSY_COSINE = 0.99
MIN_TOP1 = 0.99
_MAX_REFERENCE_BYTES = 4 << 30


@dataclass(frozen=True)
class Difference:
    """Over all captured inputs and floating-point outputs together."""

    sqnr_db: float | None
    """Signal to quantization noise against eager: ``10 log10(Σ e² / Σ (c - e)²)``; None where they are equal."""
    cosine: float
    max_abs: float
    top1: float | None
    """Share of rows of outputs of two dimensions whose largest entry is the same; None without such an output."""
    rmse_ratio: float | None
    """``rmse(candidate, float64) / rmse(eager, float64)``; None without a reference or where eager is exact."""
    reference: str
    """``float64``, or why there is none."""


class ShapeMismatchError(ValueError):
    """The candidate returned another structure of outputs than eager."""


def float64_outputs(captured: Captured) -> tuple[list[Any] | None, str]:
    """The outputs of a copy of the module in float64, or None and the reason."""
    module = captured.module
    if sum(each.numel() * 8 for each in module.parameters()) > _MAX_REFERENCE_BYTES:
        return None, "the module in float64 would take more than 4 GiB"
    if captured.training:
        return None, "the module is in training"
    try:
        wide = copy.deepcopy(module).double()
        device = captured.device
        with torch.autocast(device, enabled=False):
            outputs = [wide(*call.args, **call.kwargs) for call in (_widened(each) for each in captured.calls)]
    except Exception as error:  # noqa: BLE001  # any module: what it cannot do in float64 is no fault of the candidate
        return None, f"not computed: {type(error).__name__}: {str(error)[:200]}"
    return outputs, "float64"


def _widened(call: Call) -> Call:
    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().double() if tensor.is_floating_point() else tensor.detach().clone()

    return Call(mapped(call.args, wide), mapped(dict(call.kwargs), wide))


def compare(eager: Sequence[Any], candidate: Sequence[Any], reference: Sequence[Any] | None, why: str) -> Difference:
    """Compare the outputs of all captured calls.

    Raises:
        ShapeMismatchError: another structure, or a shape that differs.
    """
    e, c = _flat(eager), _flat(candidate)
    if [(path, each.shape) for path, each in e] != [(path, each.shape) for path, each in c]:
        raise ShapeMismatchError(f"eager returns {_described(e)}, the candidate {_described(c)}")
    pairs = [(a.double(), b.double()) for (_, a), (_, b) in zip(e, c, strict=True)]
    signal = sum(float((a * a).nansum()) for a, _ in pairs)
    noise = sum(_squares(b, a) for a, b in pairs)
    other = sum(float((b * b).nansum()) for _, b in pairs)
    product = sum(float((a * b).nansum()) for a, b in pairs)
    ratio = None
    if reference is not None:
        r = [each.double() for _, each in _flat(reference)]
        if [each.shape for each in r] == [a.shape for a, _ in pairs]:
            of_eager = sum(_squares(a, each) for (a, _), each in zip(pairs, r, strict=True))
            of_candidate = sum(_squares(b, each) for (_, b), each in zip(pairs, r, strict=True))
            ratio = math.sqrt(of_candidate / of_eager) if of_eager > 0 else None
    return Difference(
        sqnr_db=_decibels(signal, noise),
        cosine=product / math.sqrt(signal * other) if signal and other else float(noise == 0),
        max_abs=max((float((b - a).abs().nan_to_num().max()) for a, b in pairs if a.numel()), default=0.0),
        top1=_top1(pairs),
        rmse_ratio=ratio,
        reference=why,
    )


def failure(difference: Difference, *, lossy: bool) -> str | None:
    """Why the outputs do not pass the gate, or None."""
    sqnr = math.inf if difference.sqnr_db is None else difference.sqnr_db
    if not lossy:
        if difference.rmse_ratio is not None and difference.rmse_ratio <= EXACT_RMSE_FACTOR:
            return None
        return None if sqnr >= EXACT_SQNR_DB else f"SQNR {sqnr:.0f} dB against eager, below {EXACT_SQNR_DB:.0f} dB"
    if sqnr < LOSSY_SQNR_DB:
        return f"SQNR {sqnr:.1f} dB against eager, below {LOSSY_SQNR_DB:.0f} dB"
    if difference.cosine < LOSSY_COSINE:
        return f"cosine {difference.cosine:.4f} to eager, below {LOSSY_COSINE}"
    if difference.top1 is not None and difference.top1 < MIN_TOP1:
        return f"top-1 agreement {difference.top1:.1%} with eager, below {MIN_TOP1:.0%}"
    return None


def _decibels(signal: float, noise: float) -> float | None:
    if noise == 0:
        return None
    return 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf


def as_json(difference: Difference) -> dict[str, Any]:
    """As plain values; what is not finite becomes None."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(difference).items()
    }


def _flat(outputs: Sequence[Any]) -> list[tuple[str, torch.Tensor]]:
    return [(path, each.detach()) for path, each in tensors(list(outputs)) if each.is_floating_point()]


def _squares(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Sum of squared differences; infinite where one of the two alone is not finite or they differ in it."""
    finite = found.isfinite()
    if not bool((finite == wanted.isfinite()).all()):
        return math.inf
    return float(torch.where(finite, found - wanted, 0.0).square().sum())


def _top1(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float | None:
    wide = [(a, b) for a, b in pairs if a.dim() == 2 and a.shape[-1] > 1 and a.numel()]
    if not wide:
        return None
    same = [(a.argmax(-1) == b.argmax(-1)).double().reshape(-1) for a, b in wide]
    return float(torch.cat(same).mean())


def _described(found: list[tuple[str, torch.Tensor]]) -> str:
    return ", ".join(f"{path or 'a tensor'} {list(each.shape)}" for path, each in found[:6]) or "no tensor"
