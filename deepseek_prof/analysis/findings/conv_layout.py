"""Convolutions on contiguous (NCHW) tensors, where channels-last is the kernels' own layout."""

from __future__ import annotations

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding, severity_of
from deepseek_prof.analysis.findings.wording import listing, number, percent

MIN_CONV_SHARE = 0.15
MIN_CONTIGUOUS = 0.5
SAVED = 0.4
"""Measured with torch 2.13 on two CPUs, four convolutions with batch norm, training: 16 channels of 64x64 lost, 128
channels of 16x16 and 64 of 32x32 saved 12 and 26 %, 32 of 32x32 saved 51 %. Two fifths stand for the upper end."""
_IMAGES = ("aten::conv2d", "aten::conv3d")


def conv_layout(evidence: Evidence) -> Finding | None:
    """Image convolutions take 15 % of the step, and most of them get contiguous input.

    Only oneDNN convolutions show which input they got; of others nothing is said.
    """
    convolutions = [each for each in evidence.calls if each.type == "conv" and each.kind == "op"]
    share = evidence.share(sum(each.self_ns for each in convolutions))
    if share < MIN_CONV_SHARE:
        return None
    described = _witnessed(evidence)
    if described is None or described[0] < MIN_CONTIGUOUS:
        return None
    contiguous, how = described
    layers: dict[str, int] = {}
    for each in convolutions:
        if each.layer:
            layers[each.layer] = layers.get(each.layer, 0) + each.self_ns
    facts = [f"convolutions take {percent(share)} of the step", how]
    if layers:
        facts.append("slowest layers: " + listing(sorted(layers, key=lambda name: -layers[name])[:3]))
    facts.append(
        f"gain: channels-last saved up to {percent(SAVED)} of a small network's time in measurements on CPU; "
        "few channels "
        "on large images came out slower, so measure both"
    )
    return Finding(
        rule="conv-layout",
        title=f"Convolutions ({percent(share)} of the step) work on contiguous tensors",
        evidence=tuple(facts),
        gain_low=0.0,
        gain_high=SAVED * share * contiguous,
        advice="Use channels-last: model = model.to(memory_format=torch.channels_last), and the same for the "
        "input batch.",
        severity=severity_of(SAVED * share * contiguous),
    )


def _witnessed(evidence: Evidence) -> tuple[float, str] | None:
    """From the operators inside oneDNN convolutions: those on contiguous input make a strided view of their output."""
    calls = dense = 0
    for each in evidence.calls:
        if each.name == "aten::mkldnn_convolution" and any(around.name in _IMAGES for around in evidence.above(each)):
            calls += each.count
            inside = evidence.children.get(each.context_id, ())
            dense += min(each.count, sum(child.count for child in inside if child.name == "aten::as_strided_"))
    if not calls:
        return None
    a_step = number(evidence.per_step(calls))
    return dense / calls, (
        f"{percent(dense / calls)} of {a_step} oneDNN convolutions a step give their output by aten::as_strided_, "
        "as they do for contiguous input only"
    )
