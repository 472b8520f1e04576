"""Convolution, ReLU and maximum pooling of a captured graph as one launch, on CUDA, where that was measured to win."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils._triton import has_triton

Pair = tuple[int, int]
_MIN_GAIN = 1.05
"""Less is within what a GPU's clock does between two measurements."""
_RELU = (torch.relu, F.relu)
_MAX_POOL = (F.max_pool2d, torch.max_pool2d)
_TYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Shape:
    """All that the choice of a kernel depends on."""

    image: tuple[int, ...]
    image_strides: tuple[int, ...]
    weight: tuple[int, ...]
    has_bias: bool
    dtype: torch.dtype
    device: torch.device
    stride: Pair
    padding: Pair
    dilation: Pair
    pool: Pair
    pool_stride: Pair
    pool_padding: Pair

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The sizes of two dimensions, in the order in which the operator of the kernel takes them."""
        return (self.stride, self.padding, self.dilation, self.pool, self.pool_stride, self.pool_padding)


@dataclass(frozen=True)
class Site:
    """A place in a graph: its last node, what goes into it, and of what shape that is."""

    last: torch.fx.Node
    inputs: tuple[Any, Any, Any]
    shape: Shape

    def arguments(self) -> tuple[Any, ...]:
        """What the operator of the kernel takes."""
        return (*self.inputs, *(list(pair) for pair in self.shape.pairs))


def fuse_pools(graph: torch.fx.GraphModule) -> int:
    """Replace the sites of a graph of Dynamo's where the kernel wins; returns how many those were.

    Only on CUDA, without gradients (the kernel has none) and without autocast (which chooses types by operator).
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cuda") or not has_triton():
        return 0
    return replace(graph, lambda site: site.shape.device.type == "cuda" and is_faster(site.shape))


def replace(graph: torch.fx.GraphModule, chosen: Callable[[Site], bool]) -> int:
    """Put the operator of the kernel in the place of the sites that are ``chosen``."""
    found = [site for site in sites(graph) if chosen(site)]
    if not found:
        return 0
    from deepseek_prof.optimizer import conv_pool_kernel

    for site in found:
        with graph.graph.inserting_before(site.last):
            fused = graph.graph.call_function(conv_pool_kernel.conv_relu_max_pool._opoverload, site.arguments())
        fused.meta = dict(site.last.meta)
        site.last.replace_all_uses_with(fused)
        for node in (site.last, *_before(site.last)):
            graph.graph.erase_node(node)
    graph.recompile()
    return len(found)


def sites(graph: torch.fx.GraphModule) -> tuple[Site, ...]:
    """Where a two-dimensional convolution goes into ReLU, that into maximum pooling, and both nowhere else."""
    found = (_site(node) for node in graph.graph.nodes if node.op == "call_function" and node.target in _MAX_POOL)
    return tuple(site for site in found if site is not None)


@functools.cache
def is_faster(shape: Shape) -> bool:
    """Measure, once for each shape, the tuned kernel against cuDNN's convolution and torch's pooling.

    ReLU is not charged to the latter: Inductor joins it to the pooling.
    """
    from triton.testing import do_bench

    from deepseek_prof.optimizer.conv_pool_kernel import conv_relu_max_pool

    options: dict[str, Any] = {"dtype": shape.dtype, "device": shape.device}
    image = torch.empty_strided(shape.image, shape.image_strides, **options).normal_()
    weight = torch.randn(shape.weight, **options)
    bias = torch.randn(shape.weight[0], **options) if shape.has_bias else None

    def separate() -> torch.Tensor:
        middle = F.conv2d(image, weight, bias, shape.stride, shape.padding, shape.dilation)
        return F.max_pool2d(middle, shape.pool, shape.pool_stride, shape.pool_padding)

    def joined() -> torch.Tensor:
        made: torch.Tensor = conv_relu_max_pool(image, weight, bias, *(list(pair) for pair in shape.pairs))
        return made

    before_ms, after_ms = (float(do_bench(each, return_mode="median")) for each in (separate, joined))
    return before_ms / after_ms > _MIN_GAIN


def _site(last: torch.fx.Node) -> Site | None:
    steps = _before(last)
    if len(steps) != 2:
        return None
    pooling = _bound(last, "input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    conv = _bound(steps[1], "input", "weight", "bias", "stride", "padding", "dilation", "groups")
    if pooling is None or conv is None or conv.get("groups", 1) != 1:
        return None
    if pooling.get("ceil_mode") or pooling.get("return_indices") or _pair(pooling.get("dilation", 1)) != (1, 1):
        return None
    pairs = (
        _pair(conv.get("stride", 1)),
        _pair(conv.get("padding", 0)),
        _pair(conv.get("dilation", 1)),
        _pair(pooling["kernel_size"]),
        _pair(pooling.get("stride") or pooling["kernel_size"]),
        _pair(pooling.get("padding", 0)),
    )
    inputs = (conv["input"], conv["weight"], conv.get("bias"))
    values: list[Any] = [each.meta.get("example_value") for each in inputs if isinstance(each, torch.fx.Node)]
    if None in pairs or not all(isinstance(value, torch.Tensor) and _is_plain(value) for value in values):
        return None
    image, weight = values[:2]
    if image.dim() != 4 or any(value.dtype != image.dtype for value in values) or image.dtype not in _TYPES:
        return None
    shape = Shape(
        tuple(image.shape), image.stride(), tuple(weight.shape), len(values) == 3, image.dtype, image.device, *pairs
    )
    return Site(last, inputs, shape)


def _before(last: torch.fx.Node) -> tuple[torch.fx.Node, ...]:
    """The ReLU before a pooling and the convolution before that; empty where they are others, or used elsewhere."""
    relu = last.args[0] if last.args else last.kwargs.get("input")
    if not isinstance(relu, torch.fx.Node) or not (relu.target in _RELU or _is_method(relu, "relu")):
        return ()
    conv = relu.args[0] if relu.args else relu.kwargs.get("input")
    if not isinstance(conv, torch.fx.Node) or conv.target is not torch.conv2d:
        return ()
    return (relu, conv) if len(relu.users) == len(conv.users) == 1 else ()


def _is_method(node: torch.fx.Node, name: str) -> bool:
    return node.op == "call_method" and node.target == name


def _bound(node: torch.fx.Node, *names: str) -> dict[str, Any] | None:
    """A node's arguments by name; None where it has others."""
    if len(node.args) > len(names) or not set(node.kwargs) <= set(names):
        return None
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _pair(value: Any) -> Any:
    """A size of two dimensions; None where it is not known beforehand, or is given in words."""
    if isinstance(value, int):
        return (value, value)
    sizes = tuple(value) if isinstance(value, (list, tuple)) else ()
    return sizes * (2 // len(sizes)) if len(sizes) in (1, 2) and all(isinstance(each, int) for each in sizes) else None


def _is_plain(value: torch.Tensor) -> bool:
    """Whether all sizes are numbers, for a kernel is chosen for those, and no element stands for several."""
    return all(isinstance(each, int) for each in (*value.shape, *value.stride())) and 0 not in value.stride()
