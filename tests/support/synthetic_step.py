"""One training step of a small transformer as a template: contexts, and spans with offsets inside the step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deepseek_prof.model import Kind, Phase
from deepseek_prof.operator_types import operator_type

US = 1_000


def context_hash(parent: int | None, kind: str, phase: str, name: str) -> int:
    """A stable 63-bit id of a context path."""
    text = "\0".join((str(parent or 0), kind, phase, name))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") >> 1


@dataclass(frozen=True)
class Context:
    """One row of the contexts table."""

    context_id: int
    parent_id: int | None
    depth: int
    kind: str
    name: str
    type: str
    layer: str | None
    phase: str


@dataclass
class StepTemplate:
    """Spans of one step in order of their start, and the contexts that they name.

    ``parents[i]`` is the index of the enclosing span, or -1.
    """

    contexts: dict[int, Context] = field(default_factory=dict)
    context_ids: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    starts_ns: list[int] = field(default_factory=list)
    ends_ns: list[int] = field(default_factory=list)
    now_ns: int = 0
    _stack: list[int] = field(default_factory=list)
    _layers: list[str | None] = field(default_factory=lambda: [None])
    _twins: dict[str, int] = field(default_factory=dict)

    def context(self, parent: int | None, kind: Kind, phase: Phase, name: str, layer: str | None) -> int:
        """The id of a context, which is added if it is new."""
        key = context_hash(parent, kind.label, phase.label, name)
        if key not in self.contexts:
            depth = 0 if parent is None else self.contexts[parent].depth + 1
            kind_type = operator_type(name, kind)
            self.contexts[key] = Context(key, parent, depth, kind.label, name, kind_type, layer, phase.label)
        return key

    @contextmanager
    def span(self, name: str, kind: Kind, phase: Phase, layer: str | None = None) -> Iterator[None]:
        """A span around what happens in the ``with`` block; without ``layer`` the enclosing one's holds.

        A backward span with a ``layer`` hangs below that layer's backward twin, as the recorder has it.
        """
        here = layer if layer is not None else self._layers[-1]
        parent_index = self._stack[-1] if self._stack else -1
        parent_context = self.context_ids[parent_index] if self._stack else None
        if layer is not None and phase is Phase.BACKWARD:
            parent_context = self._twins[layer]
        elif kind is Kind.LAYER:
            outer = self._layers[-1]
            twin_parent = None if outer is None else self._twins[outer]
            self._twins[name] = self.context(twin_parent, kind, Phase.BACKWARD, name, name)
        index = len(self.context_ids)
        self.context_ids.append(self.context(parent_context, kind, phase, name, here))
        self.parents.append(parent_index)
        self.starts_ns.append(self.now_ns)
        self.ends_ns.append(0)
        self._stack.append(index)
        self._layers.append(here)
        self.idle(400)
        yield
        self._layers.pop()
        self._stack.pop()
        self.ends_ns[index] = self.now_ns

    def idle(self, ns: int) -> None:
        """Time in which nothing begins or ends."""
        self.now_ns += ns

    def leaf(self, name: str, phase: Phase, ns: int, kind: Kind = Kind.OP, layer: str | None = None) -> None:
        """An operator without children."""
        with self.span(name, kind, phase, layer):
            self.idle(ns)


def transformer_step(layers: int, *, data_us: int = 120, with_layers: bool = True) -> StepTemplate:
    """Data loading, forward, backward and AdamW of a transformer with ``layers`` blocks."""
    step = StepTemplate()
    _data(step, data_us)
    _forward(step, layers, with_layers)
    with step.span("backward", Kind.PHASE, Phase.BACKWARD):
        step.idle(10 * US)
        _backward(step, layers, with_layers)
    _optimizer(step, layers)
    return step


def _data(step: StepTemplate, data_us: int) -> None:
    with step.span("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", Kind.DATA, Phase.DATA):
        step.idle(data_us * US)
        with step.span("aten::stack", Kind.OP, Phase.DATA):
            step.leaf("aten::cat", Phase.DATA, 6 * US)
    step.idle(15 * US)


def _linear(step: StepTemplate, us: int) -> None:
    with step.span("aten::linear", Kind.OP, Phase.FORWARD):
        step.leaf("aten::t", Phase.FORWARD, 1 * US)
        step.leaf("aten::addmm", Phase.FORWARD, us * US)


def _norm(step: StepTemplate) -> None:
    with step.span("aten::layer_norm", Kind.OP, Phase.FORWARD):
        step.leaf("aten::native_layer_norm", Phase.FORWARD, 5 * US)


def _forward(step: StepTemplate, layers: int, with_layers: bool) -> None:
    @contextmanager
    def module(name: str) -> Iterator[None]:
        if with_layers:
            with step.span(name, Kind.LAYER, Phase.FORWARD, name):
                step.idle(2 * US)
                yield
        else:
            yield

    with module("TinyTransformer"):
        with module("embedding"):
            step.leaf("aten::embedding", Phase.FORWARD, 8 * US)
        for index in range(layers):
            block = f"encoder.{index}"
            with module(block):
                with module(f"{block}.norm1"):
                    _norm(step)
                with module(f"{block}.attention"):
                    with module(f"{block}.attention.qkv"):
                        _linear(step, 40)
                    with step.span("aten::scaled_dot_product_attention", Kind.OP, Phase.FORWARD):
                        step.leaf("aten::_scaled_dot_product_flash_attention_for_cpu", Phase.FORWARD, 45 * US)
                    with module(f"{block}.attention.out"):
                        _linear(step, 18)
                step.leaf("aten::add", Phase.FORWARD, 3 * US)
                with module(f"{block}.norm2"):
                    _norm(step)
                with module(f"{block}.feed_forward"):
                    with module(f"{block}.feed_forward.0"):
                        _linear(step, 60)
                    with module(f"{block}.feed_forward.1"):
                        step.leaf("aten::gelu", Phase.FORWARD, 14 * US)
                    with module(f"{block}.feed_forward.2"):
                        _linear(step, 60)
                step.leaf("aten::add", Phase.FORWARD, 3 * US)
        with module("head"):
            _linear(step, 25)
    with step.span("aten::cross_entropy_loss", Kind.OP, Phase.FORWARD):
        step.leaf("aten::log_softmax", Phase.FORWARD, 6 * US)
        step.leaf("aten::nll_loss_nd", Phase.FORWARD, 3 * US)
    step.idle(20 * US)


def _node(step: StepTemplate, name: str, layer: str | None, ops: tuple[tuple[str, int], ...]) -> None:
    with (
        step.span(f"autograd::engine::evaluate_function: {name}", Kind.AUTOGRAD, Phase.BACKWARD, layer),
        step.span(name, Kind.AUTOGRAD, Phase.BACKWARD),
    ):
        for op, us in ops:
            step.leaf(op, Phase.BACKWARD, us * US)


def _backward(step: StepTemplate, layers: int, with_layers: bool) -> None:
    def named(layer: str) -> str | None:
        return layer if with_layers else None

    def linear(layer: str, us: int) -> None:
        ops = (("aten::t", 1), ("aten::mm", us), ("aten::t", 1), ("aten::mm", us), ("aten::sum", 6))
        _node(step, "AddmmBackward0", named(layer), ops)
        _node(step, "TBackward0", named(layer), (("aten::t", 1),))
        _node(step, "torch::autograd::AccumulateGrad", named(layer), (("aten::detach", 1),))
        _node(step, "torch::autograd::AccumulateGrad", named(layer), (("aten::detach", 1),))

    _node(step, "NllLossBackward0", None, (("aten::nll_loss_backward", 4),))
    _node(step, "LogSoftmaxBackward0", None, (("aten::_log_softmax_backward_data", 7),))
    linear("head", 25)
    for index in reversed(range(layers)):
        block = f"encoder.{index}"
        _node(step, "AddBackward0", named(block), ())
        linear(f"{block}.feed_forward.2", 60)
        _node(step, "GeluBackward0", named(f"{block}.feed_forward.1"), (("aten::gelu_backward", 20),))
        linear(f"{block}.feed_forward.0", 60)
        _node(step, "NativeLayerNormBackward0", named(f"{block}.norm2"), (("aten::native_layer_norm_backward", 14),))
        _node(step, "AddBackward0", named(block), ())
        linear(f"{block}.attention.out", 18)
        flash = "aten::_scaled_dot_product_flash_attention_for_cpu_backward"
        _node(step, "ScaledDotProductFlashAttentionForCpuBackward0", named(f"{block}.attention"), ((flash, 90),))
        linear(f"{block}.attention.qkv", 40)
        _node(step, "NativeLayerNormBackward0", named(f"{block}.norm1"), (("aten::native_layer_norm_backward", 14),))
    _node(step, "EmbeddingBackward0", named("embedding"), (("aten::embedding_dense_backward", 30),))


def _optimizer(step: StepTemplate, layers: int) -> None:
    with step.span("Optimizer.step#AdamW.step", Kind.USER, Phase.OPTIMIZER):
        step.idle(30 * US)
        for name in ("aten::_foreach_lerp_", "aten::_foreach_mul_", "aten::_foreach_addcmul_", "aten::_foreach_sqrt"):
            with step.span(name, Kind.OP, Phase.OPTIMIZER):
                for _ in range(layers):
                    step.leaf(name.replace("_foreach_", ""), Phase.OPTIMIZER, 4 * US)
    with step.span("Optimizer.zero_grad#AdamW.zero_grad", Kind.USER, Phase.OPTIMIZER):
        step.idle(12 * US)
    step.idle(5 * US)
