"""Pass ``quantize``: matrix products and convolutions in int8, with the layers that int8 damages most kept in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from deepseek_prof.optimizer.passes import inductor
from deepseek_prof.optimizer.protocol import Applied, Call, Callee, Captured, Profile
from deepseek_prof.text import counted

if TYPE_CHECKING:
    import torch

MAX_SIGNATURES = 4
"""Every signature has a graph of its own, with weights of its own."""
_CHECKED = 3
"""Calls of each signature that decide on layers in float: what int8 computes is slow before it is compiled."""
SAVED = {"static": {"conv": 0.83, "matmul": 0.85}, "dynamic": {"matmul": 0.83}, "weight_only": {"matmul": 0.3}}
"""Part of these operators' time that int8 saved, compiled, on a CPU with AVX512-VNNI (ResNet-50, BERT-base)."""


@dataclass(frozen=True)
class Quantize:
    """``kind`` is ``static`` (ranges of activations from the captured calls), ``dynamic`` (at each call) or
    ``weight_only``."""

    kind: str = "static"
    min_sqnr_db: float = 22.0
    """Layers go back to float until the outputs on the captured calls reach this signal to noise ratio, a little
    more than the gate of :mod:`deepseek_prof.optimizer.numerics`."""
    keep: tuple[str, ...] = ()
    """Layers to keep in float in any case."""


class QuantizeHandler:
    """Compiles what it quantizes, for only Inductor with frozen weights turns the graphs into int8 kernels."""

    name = "quantize"
    order = 40
    lossy = True
    modes = ("inference",)

    def configs(self) -> Sequence[Quantize]:
        """The three kinds, of the largest gain first."""
        return (Quantize(), Quantize("dynamic"), Quantize("weight_only"))

    def predicted_gain(self, config: Quantize, profile: Profile) -> float:
        """By Amdahl's law over the products that this kind quantizes."""
        saved = sum(part * profile.type_shares.get(kind, 0.0) for kind, part in SAVED[config.kind].items())
        return 1 / (1 - min(saved, 0.9))

    def refusal(self, config: Quantize, captured: Captured) -> str | None:
        """Refuses other hardware, other weights than float32, training, a compiled module, one with nothing to
        quantize, and, but for ``weight_only``, dataclasses that the export cannot take apart."""
        import torch

        from deepseek_prof.optimizer import pt2e

        if find_spec("torchao") is None:
            return "torchao is not installed: pip install 'deepseek-prof[quantize]'"
        if reason := inductor.compiled_refusal(captured):
            return reason
        if reason := inductor.freezing_refusal(captured):
            return reason
        if not torch.cpu._is_avx2_supported():
            return "int8 kernels need an x86 CPU with AVX2"
        if inductor.parameters_of(captured.module) != {torch.float32}:
            return "int8 starts from float32 weights"
        kinds = (torch.nn.Linear, torch.nn.Conv2d) if config.kind == "static" else (torch.nn.Linear,)
        if not any(isinstance(each, kinds) for each in captured.module.modules()):
            return f"no {' or '.join(each.__name__ for each in kinds)} layer"
        signatures = len(pt2e.by_signature(captured.calls))
        if signatures > MAX_SIGNATURES:
            return f"{signatures} different inputs, each with a graph of its own; at most {MAX_SIGNATURES}"
        if config.kind == "weight_only":
            return None
        unknown = pt2e.unknown_dataclass(captured.module, captured.calls)
        if unknown is None:
            return None
        known = "that torch.export takes once it is registered (torch.export.register_dataclass)"
        return f"{unknown} goes in or out, a dataclass {known}"

    def apply(self, config: Quantize, callee: Callee, captured: Captured) -> Applied:
        """Quantize and compile. Raises what the export raises, and ValueError where no layer can stay in int8."""
        from deepseek_prof.optimizer import pt2e

        module = inductor.module_of(callee, "quantize")
        inductor.freeze()
        since = inductor.compiled_since()
        if config.kind == "weight_only":
            return _weight_only(config, module, since)
        graphs, kept = _within_limit(config, module, pt2e.by_signature(captured.all_calls))
        expected = sum(pt2e.quantized_products(graph) for graph in graphs.values())

        def fired() -> str | None:
            counts = since()
            found = sum(counts.get(f"q{kind}_weight_prepack_matcher_count", 0) for kind in ("conv", "linear"))
            return f"{found} of {expected} products in int8 kernels" if found else None

        return Applied(
            _by_signature(graphs, module),
            fired,
            kept_in_float=kept,
            compiles=tuple(graphs.values()),
            config=replace(config, keep=kept),
        )

    def code(self, config: Quantize) -> str:
        """The same steps with torchao; ``calls`` are pairs of arguments and keyword arguments."""
        if config.kind == "weight_only":
            keep = f", lambda layer, name: isinstance(layer, torch.nn.Linear) and name not in {list(config.keep)}"
            return (
                "import torch._inductor.config\n"
                "from torchao.quantization import Int8WeightOnlyConfig, quantize_\n\n"
                "torch._inductor.config.freezing = True\n"
                f"quantize_(model, Int8WeightOnlyConfig(){keep if config.keep else ''})\n"
                "model = torch.compile(model)"
            )
        return _PT2E_CODE.format(dynamic=config.kind == "dynamic", keep=list(config.keep))


_PT2E_CODE = """\
import copy

import torch._inductor.config
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

torch._inductor.config.freezing = True
kept_in_float = {keep}


def signature(value):
    # Each kind of inputs has a graph of its own: types and shapes of tensors, and plain values.
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape
    if isinstance(value, dict):
        return tuple((name, signature(each)) for name, each in value.items())
    return tuple(map(signature, value)) if isinstance(value, (tuple, list)) else repr(value)


in_float = model
inputs = {{}}
for args, kwargs in calls:
    inputs.setdefault(signature((args, kwargs)), []).append((args, kwargs))
graphs = {{}}
for kind, same in inputs.items():
    recipe = get_default_x86_inductor_quantization_config(
        is_dynamic={dynamic}, reduce_range=not torch.cpu._is_vnni_supported()
    )
    quantizer = X86InductorQuantizer().set_global(recipe)
    for name in kept_in_float:
        quantizer.set_module_name_qconfig(name, None)
    args, kwargs = copy.deepcopy(same[0])
    prepared = prepare_pt2e(torch.export.export(model, args, kwargs, strict=False).module(), quantizer)
    for args, kwargs in copy.deepcopy(same):  # sees the ranges of activations
        prepared(*args, **kwargs)
    graphs[kind] = torch.compile(convert_pt2e(prepared))


class Quantized(torch.nn.Module):
    # Inputs of any other kind run in float.
    def forward(self, *args, **kwargs):
        return graphs.get(signature((args, kwargs)), in_float)(*args, **kwargs)


model = Quantized()"""


def _within_limit(
    config: Quantize, module: torch.nn.Module, groups: Mapping[str, Sequence[Call]]
) -> tuple[dict[str, torch.fx.GraphModule], tuple[str, ...]]:
    """The converted graphs with as few layers in float as the gate allows, and the names of those layers."""
    from deepseek_prof.optimizer import numerics, pt2e, sensitivity

    checked = [(key, each) for key, group in groups.items() for each in group[:_CHECKED]]
    reference = [sensitivity.outputs(module, each) for _, each in checked]
    exported = pt2e.exported(module, groups)
    order: list[str] = []
    made: dict[int, dict[str, torch.fx.GraphModule]] = {}

    def passes(count: int) -> bool:
        if count and not order:
            order.extend(each.layer for each in sensitivity.ranked(module, [group[0] for group in groups.values()]))
        made[count] = {
            key: pt2e.quantized(
                graph, groups[key], dynamic=config.kind == "dynamic", keep=(*config.keep, *order[:count])
            )
            for key, graph in exported.items()
        }
        found = [sensitivity.outputs(made[count][key], each) for key, each in checked]
        difference = numerics.compare(reference, found, None, "not asked for")
        # The largest entry of a few rows flips by chance, whichever layers are in float.
        return difference.sqnr_db is None or difference.sqnr_db >= config.min_sqnr_db

    layers = sum(sensitivity.is_product(each) for each in module.modules())
    count = sensitivity.fewest(layers - 1, passes)
    if count is None:
        raise ValueError(f"int8 in one layer alone stays below {config.min_sqnr_db:g} dB")
    return made[count], (*config.keep, *order[:count])


def _by_signature(graphs: Mapping[str, torch.fx.GraphModule], module: torch.nn.Module) -> torch.nn.Module:
    """The compiled graph that was made for a call's signature; calls of any other signature run in float."""
    import torch

    from deepseek_prof.optimizer.values import signature

    def compiled(graph: torch.fx.GraphModule) -> torch.nn.Module:
        made = torch.compile(graph)
        assert isinstance(made, torch.nn.Module)
        return made

    class BySignature(torch.nn.Module):
        _deepseek_prof_wraps = "in_float"

        def __init__(self) -> None:
            super().__init__()
            self.graphs = torch.nn.ModuleList()
            for each in graphs.values():
                self.graphs.append(compiled(each))
            self.in_float = module

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            index = places.get(signature((args, kwargs)))
            return (self.in_float if index is None else self.graphs[index])(*args, **kwargs)

    places = {key: index for index, key in enumerate(graphs)}
    return BySignature()


def _weight_only(config: Quantize, module: torch.nn.Module, since: Callable[[], dict[str, int]]) -> Applied:
    """int8 weights, float products: for layers whose time is that of reading their weights."""
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, quantize_
    from torchao.utils import TorchAOBaseTensor

    def wanted(each: torch.nn.Module, name: str) -> bool:
        return isinstance(each, torch.nn.Linear) and name not in config.keep

    quantize_(module, Int8WeightOnlyConfig(), wanted)
    compiled = torch.compile(module)

    def fired() -> str | None:
        layers = sum(isinstance(each, TorchAOBaseTensor) for each in module.parameters())
        graphs = since()["graphs"]
        return f"{counted(layers, 'weight')} in int8, {counted(graphs, 'graph')}" if layers and graphs else None

    return Applied(compiled, fired, kept_in_float=config.keep, compiles=(module,))
