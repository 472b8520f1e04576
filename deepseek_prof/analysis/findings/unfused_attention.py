"""Attention written as matmul, softmax, matmul."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Calls, Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import listing, percent

MIN_SHARE = 0.08
SAVED = (0.2, 0.8)
"""Part of the time of forward and backward that the fused operator saved: measured with torch 2.13 on two CPUs, for
sequences of 32, 128, 512 and 1024: 86, 28, 62 and 40 %."""
_PRODUCTS = frozenset({"aten::bmm", "aten::baddbmm"})
_SOFTMAX = frozenset({"aten::_softmax", "aten::_softmax_backward_data"})
_FUSED = "scaled_dot_product"


def unfused_attention(evidence: Evidence) -> Finding | None:
    """Softmax and batched products in the same layer, outside any fused attention, take at least 8 % of the step."""
    layers: dict[str, list[Calls]] = {}
    for each in evidence.calls:
        if each.layer and each.kind == "op" and (each.name in _PRODUCTS or each.name in _SOFTMAX):
            layers.setdefault(each.layer, []).append(each)
    attention = {layer: calls for layer, calls in layers.items() if _is_attention(calls, evidence)}
    times = {layer: sum(each.self_ns for each in calls) for layer, calls in attention.items()}
    share = evidence.share(sum(times.values()))
    if share < MIN_SHARE:
        return None
    slowest = sorted(times, key=lambda layer: -times[layer])
    return Finding(
        rule="unfused-attention",
        title=f"Attention as separate matmul and softmax takes {percent(share)} of the step",
        evidence=(
            f"{len(times)} layers run softmax between batched matrix products, such as " + listing(slowest[:3]),
            "gain: a fused kernel never writes the attention matrix: a fifth to four fifths of this time on CPU",
        ),
        gain_low=SAVED[0] * share,
        gain_high=SAVED[1] * share,
        advice='Use torch.nn.functional.scaled_dot_product_attention, or attn_implementation="sdpa" in '
        "Transformers, unless the "
        "program reads the attention weights themselves.",
        severity=severity_of(SAVED[1] * share),
    )


def _is_attention(calls: list[Calls], evidence: Evidence) -> bool:
    """Forward softmax and at least as many products as softmaxes times two, none inside a fused operator."""
    forward = [each for each in calls if each.phase == "forward"]
    softmaxes = sum(each.count for each in forward if each.name == "aten::_softmax")
    products = sum(each.count for each in forward if each.name in _PRODUCTS)
    fused = any(_FUSED in around.name for each in forward for around in evidence.above(each))
    return not fused and softmaxes > 0 and products >= 2 * softmaxes
