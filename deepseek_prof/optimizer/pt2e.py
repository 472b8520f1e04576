"""int8 by PyTorch 2 export quantization: export, observe on the captured calls, convert; one graph a signature.

Standard library, torch and torchao only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy

import torch
from torch.utils._pytree import tree_leaves

from deepseek_prof.optimizer.probing import unseen
from deepseek_prof.optimizer.protocol import Call
from deepseek_prof.optimizer.values import copied, signature

_PRODUCTS = (torch.ops.aten.conv1d.default, torch.ops.aten.conv2d.default, torch.ops.aten.linear.default)


def by_signature(calls: Sequence[Call]) -> dict[str, list[Call]]:
    """The calls grouped, in the order in which signatures appear."""
    groups: dict[str, list[Call]] = {}
    for each in calls:
        groups.setdefault(signature(each.given), []).append(each)
    return groups


def unknown_dataclass(module: torch.nn.Module, calls: Sequence[Call]) -> str | None:
    """Name of a dataclass among arguments and results that ``torch.export`` cannot take apart, or None.

    Calls the module once a call.
    """
    for each in calls:
        own = copied(each)
        with unseen(module):
            result = module(*own.args, **own.kwargs)
        for leaf in tree_leaves((own.given, result)):  # those that are registered are no leaves
            if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
                return type(leaf).__qualname__
    return None


def exported(module: torch.nn.Module, groups: Mapping[str, Sequence[Call]]) -> dict[str, torch.fx.GraphModule]:
    """The module as one aten graph a signature. Raises what ``torch.export`` raises where it cannot be exported."""
    return {
        key: torch.export.export(module, *copied(calls[0]).given, strict=False).module()
        for key, calls in groups.items()
    }


def quantized(
    graph: torch.fx.GraphModule, calls: Sequence[Call], *, dynamic: bool, keep: Collection[str] = ()
) -> torch.fx.GraphModule:
    """A copy of an exported graph with quantize and dequantize operators around products, calibrated on ``calls``.

    Activations are uint8 per tensor, weights int8 per output channel: the recipe of ``X86InductorQuantizer``, whose
    patterns Inductor turns into oneDNN's int8 kernels once weights are frozen. Layers named in ``keep`` stay in float.
    In eager mode the result computes what int8 does, slowly.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    # Without VNNI, sums of two products of 8 bits overflow their 16 bits.
    reduce_range = not torch.cpu._is_vnni_supported()
    config = get_default_x86_inductor_quantization_config(is_dynamic=dynamic, reduce_range=reduce_range)
    quantizer = X86InductorQuantizer().set_global(config)
    for name in keep:
        quantizer.set_module_name_qconfig(name, None)
    prepared = prepare_pt2e(deepcopy(graph), quantizer)
    for each in calls:
        own = copied(each)
        prepared(*own.args, **own.kwargs)
    converted: torch.fx.GraphModule = convert_pt2e(prepared)
    _untie(converted)
    return converted


def _untie(graph: torch.fx.GraphModule) -> None:
    """Give every use of a weight that layers share a copy of its own: Inductor joins equal uses into one operator, in
    which its patterns for int8 kernels no longer find a product."""
    used: set[str] = set()
    for node in graph.graph.nodes:
        if "dequantize_per_channel" not in str(node.target):
            continue
        weight = node.args[0]
        if weight.op == "get_attr" and weight.target in used:
            name = f"_own_weight_{len(used)}"
            graph.register_buffer(name, graph.get_buffer(weight.target).clone())
            with graph.graph.inserting_before(node):
                own = graph.graph.get_attr(name)
            own.meta = dict(weight.meta)
            node.replace_input_with(weight, own)
            used.add(name)
        elif weight.op == "get_attr":
            used.add(weight.target)
    graph.recompile()


def quantized_products(graph: torch.fx.GraphModule) -> int:
    """Convolutions and linear products of a converted graph whose activation is quantized."""
    return sum(
        node.op == "call_function" and node.target in _PRODUCTS and "dequantize" in str(node.all_input_nodes[0].target)
        for node in graph.graph.nodes
    )
