"""How far a candidate's outputs are from eager's and from a float64 reference. Standard library and torch only."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch

from deepseek_prof.optimizer.protocol import Call, Captured
from deepseek_prof.optimizer.values import changed, copied, tensors

EXACT_RMSE_FACTOR = 8.0
"""An exact pass may be this much further from float64 than eager is: sums in another order."""
EXACT_SQNR_DB = 90.0
LOSSY_SQNR_DB = 20.0
LOSSY_COSINE = 0.99
MIN_TOP1 = 0.99
_MAX_REFERENCE_BYTES = 4 << 30
_FLOOR = 1e-12
"""An output whose mean square is this part of the loudest one's is silence: padding, or what cancels out."""


@dataclass(frozen=True)
class Difference:
    """Over all captured inputs; of several outputs the worst counts, for a large one would hide a small one."""

    sqnr_db: float | None
    """Signal to quantization noise against eager: ``10 log10(Σ e² / Σ (c - e)²)``; None where they are equal."""
    cosine: float
    max_abs: float
    top1: float | None
    """Share of rows whose largest entry is the same, in the outputs that hold scores of classes; None without one."""
    same: float | None
    """Share of equal entries in the outputs that are no floating-point numbers; None without such an output."""
    rmse_ratio: float | None
    """``rmse(candidate, float64) / rmse(eager, float64)``; None without a reference or where eager is exact."""
    reference: str
    """``float64``, or why there is none."""


Outputs: TypeAlias = Mapping[str, torch.Tensor]
"""The tensors that one call returned, by their paths (:func:`deepseek_prof.optimizer.values.tensors`)."""


class ShapeMismatchError(ValueError):
    """The candidate returned another structure of outputs than eager."""


def float64_outputs(captured: Captured) -> tuple[list[Outputs] | None, str]:
    """The outputs of a copy of the module in float64 for one call of each signature, or None and the reason."""
    module = captured.module
    if sum(each.numel() * 8 for each in module.parameters()) > _MAX_REFERENCE_BYTES:
        return None, "the module in float64 would take more than 4 GiB"
    if captured.training:
        return None, "the module is in training"
    try:
        wide = copy.deepcopy(module).double()
        device = captured.device
        with torch.autocast(device, enabled=False):
            widened = [_widened(each) for each in captured.calls]
            outputs: list[Outputs] = [dict(tensors(wide(*call.args, **call.kwargs))) for call in widened]
    except Exception as error:  # noqa: BLE001  # any module: what it cannot do in float64 is no fault of the candidate
        return None, f"not computed: {type(error).__name__}: {str(error)[:200]}"
    return outputs, "float64"


def _widened(call: Call) -> Call:
    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().double() if tensor.is_floating_point() else tensor.detach().clone()

    return changed(call, wide)


def compare(
    eager: Sequence[Outputs],
    candidate: Sequence[Outputs],
    reference: Sequence[Outputs] | None,
    why: str,
    classes: Collection[str] = (),
) -> Difference:
    """Compare the outputs of all captured calls.

    ``reference`` holds those of the first of them, ``classes`` paths of outputs whose rows are scores of classes.

    Raises:
        ShapeMismatchError: another structure, or a shape that differs.
    """
    if _shapes(eager) != _shapes(candidate):
        raise ShapeMismatchError(f"eager returns {_described(eager)}, the candidate {_described(candidate)}")
    pairs: dict[str, list[_Pair]] = {}
    same: list[torch.Tensor] = []
    for index, (e, c) in enumerate(zip(eager, candidate, strict=True)):
        for path, tensor in e.items():
            if tensor.is_complex():
                parts = [torch.view_as_real(each.detach().resolve_conj()).double() for each in (tensor, c[path])]
                pairs.setdefault(path, []).append(_Pair(parts[0], parts[1], None))
                continue
            if not tensor.is_floating_point():
                same.append((tensor == c[path]).flatten().cpu())
                continue
            wide = reference[index].get(path) if reference is not None and index < len(reference) else None
            wide = wide.detach().double() if wide is not None and wide.shape == tensor.shape else None
            pairs.setdefault(path, []).append(_Pair(tensor.detach().double(), c[path].detach().double(), wide))
    loudest = max((_power(each) for each in pairs.values()), default=0.0)
    found = [_difference(each, _FLOOR * loudest) for each in pairs.values()]
    # What is close to eager needs no reference: the ratio of small errors says little.
    ratios = [each.rmse_ratio for each in found if each.sqnr_db < EXACT_SQNR_DB] or [each.rmse_ratio for each in found]
    known = [each for each in ratios if each is not None]
    flat = [pair for each in pairs.values() for pair in each]
    worst = min((each.sqnr_db for each in found), default=math.inf)
    return Difference(
        sqnr_db=None if worst == math.inf else worst,
        cosine=min((each.cosine for each in found), default=1.0),
        max_abs=max((float((p.c - p.e).abs().nan_to_num().max()) for p in flat if p.e.numel()), default=0.0),
        top1=_top1([pair for path in classes for pair in pairs.get(path, ())]),
        same=float(torch.cat(same).double().mean()) if any(each.numel() for each in same) else None,
        rmse_ratio=max(known) if known and len(known) == len(ratios) else None,
        reference=why,
    )


def failure(difference: Difference, *, lossy: bool) -> str | None:
    """Why the outputs do not pass the gate, or None."""
    sqnr = math.inf if difference.sqnr_db is None else difference.sqnr_db
    least = MIN_TOP1 if lossy else 1.0
    if difference.same is not None and difference.same < least:
        return f"{1 - difference.same:.2%} of the integers or booleans that it returns are not eager's"
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


def as_json(difference: Difference) -> dict[str, Any]:
    """As plain values; what is not finite becomes None."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(difference).items()
    }


def class_scores(captured: Captured) -> frozenset[str]:
    """Paths of the outputs that are scores of classes, a row each: two dimensions, as a linear layer returned them.

    Other rows, such as embeddings, have no largest entry that means anything.
    """
    scores: list[torch.Tensor] = []

    def seen(_layer: Any, _inputs: Any, output: torch.Tensor) -> None:
        if output.dim() == 2 and output.shape[-1] > 1:
            scores.append(output)

    layers = [each for each in captured.module.modules() if isinstance(each, torch.nn.Linear)]
    handles = [each.register_forward_hook(seen) for each in layers]
    call = copied(captured.calls[0])
    try:
        returned = dict(tensors(captured.module(*call.args, **call.kwargs)))
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(path for path, tensor in returned.items() if any(tensor is each for each in scores))


@dataclass(frozen=True)
class _Pair:
    """One output of one call in float64: eager's, the candidate's, and the reference where there is one."""

    e: torch.Tensor
    c: torch.Tensor
    reference: torch.Tensor | None


@dataclass(frozen=True)
class _OutputDifference:
    sqnr_db: float
    cosine: float
    rmse_ratio: float | None


def _difference(pairs: Sequence[_Pair], floor: float) -> _OutputDifference:
    """Of one output over all calls. ``floor``: the mean square below which an output counts as silence."""
    signal = sum(float((pair.e * pair.e).nansum()) for pair in pairs)
    noise = sum(_squares(pair.c, pair.e) for pair in pairs)
    other = sum(float((pair.c * pair.c).nansum()) for pair in pairs)
    product = sum(float((pair.e * pair.c).nansum()) for pair in pairs)
    silence = floor * sum(pair.e.numel() for pair in pairs)
    if noise == 0:
        sqnr_db = math.inf
    else:
        audible = max(signal, silence)
        sqnr_db = 10 * math.log10(audible / noise) if audible and math.isfinite(noise) else -math.inf
    cosine = product / math.sqrt(signal * other) if signal > silence and other else float(sqnr_db > LOSSY_SQNR_DB)
    known = [(pair.e, pair.c, pair.reference) for pair in pairs if pair.reference is not None]
    of_eager = sum(_squares(e, wide) for e, _, wide in known)
    of_candidate = sum(_squares(c, wide) for _, c, wide in known)
    ratio = math.sqrt(of_candidate / of_eager) if of_eager > 0 else None
    return _OutputDifference(sqnr_db, cosine, ratio)


def _power(pairs: Sequence[_Pair]) -> float:
    entries = sum(pair.e.numel() for pair in pairs)
    return sum(float((pair.e * pair.e).nansum()) for pair in pairs) / entries if entries else 0.0


def _squares(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Sum of squared differences; infinite where one of the two alone is not finite or they differ in it."""
    finite = found.isfinite() & wanted.isfinite()
    if not bool((finite | (found == wanted) | (found.isnan() & wanted.isnan())).all()):
        return math.inf
    return float(torch.where(finite, found - wanted, 0.0).square().sum())


def _top1(pairs: Sequence[_Pair]) -> float | None:
    rows = [(pair.e.argmax(-1) == pair.c.argmax(-1)).double().reshape(-1) for pair in pairs if pair.e.numel()]
    return float(torch.cat(rows).mean()) if rows else None


def _shapes(outputs: Sequence[Outputs]) -> list[dict[str, tuple[torch.Size, bool]]]:
    """What the two must have in common; the width of floating-point numbers is not part of it."""
    return [{path: (tensor.shape, tensor.is_floating_point()) for path, tensor in each.items()} for each in outputs]


def _described(outputs: Sequence[Outputs]) -> str:
    found = [f"{path or 'a tensor'} {list(tensor.shape)}" for each in outputs for path, tensor in each.items()]
    return ", ".join(found[:6]) or "no tensor"
