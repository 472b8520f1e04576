"""The decorator ``@deepseek_prof.fuse_operators``: a module's forward in as few kernels as Inductor can make of it."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, TypeVar, cast

import torch

from deepseek_prof.errors import UsageError

TargetT = TypeVar("TargetT", bound=Callable[..., Any])
_ATTRIBUTE = "__deepseek_prof_fusion__"


@dataclass(frozen=True)
class Fused:
    """One compiled graph: inputs of other types, ranks or modes of gradients make another one."""

    operators: int
    """That computed in eager mode; views are not counted."""
    kernels: int
    """Started by a call of what Inductor made of them, backward not counted."""


class Fusion:
    """What became of a decorated forward; :func:`fusion_of` finds it."""

    def __init__(self, function: FunctionType) -> None:
        self.reason: str | None = None
        """Why it runs as it is written, or None where it is compiled or was not called yet."""
        self._graphs: list[Fused] = []
        self._lock = threading.Lock()
        self._function = function
        # Made at the first call, for the compiler takes long to import.
        self._compiled: Callable[..., Any] | None = None

    @property
    def graphs(self) -> tuple[Fused, ...]:
        """The compiled graphs, in order of their first call."""
        return tuple(self._graphs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward, compiled where that can be; whatever the forward itself raises is raised."""
        if self.reason is not None or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return self._function(*args, **kwargs)
        if self._compiled is None:
            self._compiled = torch.compile(self._function, backend=self._backend, fullgraph=True)
        try:
            return self._compiled(*args, **kwargs)
        except Exception as error:
            if not _is_of_the_compiler(error):
                raise
            reason = _in_short(error)
        # Compilation fails before anything has run. Where the fault is in the arguments, this raises what it should.
        result = self._function(*args, **kwargs)
        with self._lock:
            is_first, self.reason = self.reason is None, reason
        if is_first:
            code = self._function.__code__
            # At the forward: which of its callers came first does not matter.
            warnings.warn_explicit(
                f"{self._function.__qualname__} cannot be compiled as one graph and runs as it is written. {reason}",
                RuntimeWarning,
                code.co_filename,
                code.co_firstlineno,
            )
        return result

    def _backend(self, graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        import torch._functorch.config as functorch_config
        from torch._inductor.compile_fx import compile_fx, compile_fx_inner
        from torch._inductor.output_code import CompiledFxGraph

        from deepseek_prof.optimizer.conv_pool import fuse_pools
        from deepseek_prof.optimizer.kernel_count import kernels_of, operators_of

        operators = operators_of(graph)
        fuse_pools(graph)

        def compile_counting(lowered: torch.fx.GraphModule, example_inputs: Sequence[Any], **options: Any) -> Any:
            made = compile_fx_inner(lowered, example_inputs, **options)
            if not options.get("is_backward") and isinstance(made, CompiledFxGraph):
                with self._lock:
                    self._graphs.append(Fused(operators, kernels_of(made.source_code)))
            return made

        # A hit in this cache would pass over the compilation that counts; Inductor's own cache is behind it.
        with functorch_config.patch(enable_autograd_cache=False):
            return cast("Callable[..., Any]", compile_fx(graph, inputs, inner_compile=compile_counting))


def _is_of_the_compiler(error: Exception) -> bool:
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    return isinstance(error, (TorchDynamoException, FailOnRecompileLimitHit))


def _in_short(error: Exception) -> str:
    cause = getattr(error, "inner_exception", error)
    lines = str(cause).strip().splitlines() or [""]
    return f"{type(cause).__name__}: {lines[0]}"


def fuse_operators(target: TargetT) -> TargetT:
    """Compile a module's forward into as few kernels as the backend can, at the first call of each kind of inputs.

    It decorates a class of modules or its ``forward``; results, gradients and errors are those of the forward as it is
    written. A forward that cannot be compiled as one graph, for a branch that depends on data say, runs as it is
    written, with one warning; :func:`fusion_of` says why, and else how many kernels there were and are. On CUDA,
    without gradients, convolution, ReLU and maximum pooling become one kernel where that was measured to be faster.

    Raises:
        UsageError: ``target`` is neither.
    """
    if isinstance(target, type):
        if not issubclass(target, torch.nn.Module):
            raise UsageError(f"fuse_operators takes a class of modules or a forward, and {target.__name__} is neither.")
        setattr(target, "forward", fuse_operators(target.forward))  # noqa: B010  # a class of the user's, not of ours
        return target
    if not isinstance(target, FunctionType):
        raise UsageError(
            f"fuse_operators takes a class of modules or a forward, not a {type(target).__name__}; "
            "for one module that exists, there is torch.compile."
        )
    if hasattr(target, _ATTRIBUTE):
        return target
    fusion = Fusion(target)

    @functools.wraps(target)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return fusion.call(*args, **kwargs)

    setattr(forward, _ATTRIBUTE, fusion)
    return forward  # type: ignore[return-value]  # takes and returns what the target does


def fusion_of(target: Callable[..., Any]) -> Fusion:
    """What became of a decorated forward, of its class, or of a module of that class.

    Raises:
        UsageError: it is not decorated.
    """
    found = getattr(target, _ATTRIBUTE, None) or getattr(getattr(target, "forward", None), _ATTRIBUTE, None)
    if not isinstance(found, Fusion):
        raise UsageError(f"{getattr(target, '__qualname__', type(target).__name__)} has no fuse_operators on it.")
    return found
