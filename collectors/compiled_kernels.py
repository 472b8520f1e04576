"""Which layers the kernels of ``torch.compile`` stand for: noted while Inductor writes them, from its graph's nodes.

Inductor tells its own provenance tracking of every kernel with the nodes fused into it, whether that is switched on or
not (``torch._inductor.debug.set_kernel_post_grad_provenance_tracing``); we listen there. A node holds the modules it
was traced in, backward ones those of their forward. Nothing of the program's configuration or caches changes; a graph
that comes out of Inductor's cache has its kernels not written anew, and so tells nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deepseek_prof.collectors.dynamo import passes_through
from deepseek_prof.model import COMPILED_KERNEL

_LISTENED = "set_kernel_post_grad_provenance_tracing"
_MODULE = "torch._inductor.debug"
_BOUND_BEFORE = ("torch._inductor.codegen.triton", "torch._inductor.codegen.cpp")
"""Modules that hold the function by name, where they were imported before us."""
_ROOT = re.compile(r"^L\['\w+'\]\.?")
_ITEM = re.compile(r"(?:\.?_modules)?\[['\"]?([^'\"\]]+)['\"]?\]")
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|module)\.")

Emit = Callable[[str, str, Mapping[str, Any]], None]


class CompiledKernels:
    """Tells an event for each kernel: ``kernel``, and ``layers`` with the number of nodes in each."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """To be called when ``torch._inductor.debug`` has been imported."""
        debug = sys.modules[_MODULE]
        original = getattr(debug, _LISTENED, None)
        if original is None:
            message = "this torch does not tell which layers the kernels of torch.compile stand for"
            self._emit("warning", "collector_failed", {"message": message})
            return

        @passes_through
        def listened(node_schedule: Any, kernel_name: str, is_extern: bool = False) -> Any:
            if not is_extern:
                self._tell(node_schedule, kernel_name)
            return original(node_schedule, kernel_name, is_extern)

        for name in (_MODULE, *_BOUND_BEFORE):
            module = sys.modules.get(name)
            if module is not None and getattr(module, _LISTENED, None) is original:
                setattr(module, _LISTENED, listened)
                self._undo.append(lambda module=module: setattr(module, _LISTENED, original))  # type: ignore[misc]

    def remove(self) -> None:
        """Hear no more."""
        while self._undo:
            self._undo.pop()()

    def _tell(self, node_schedule: Any, kernel_name: str) -> None:
        try:
            layers = layers_of(_nodes(node_schedule))
        except (AttributeError, TypeError, KeyError) as error:  # another torch's classes: compiling must go on
            self._emit("warning", "collector_failed", {"message": f"layers of {kernel_name} are not known: {error!r}"})
            return
        if layers:
            self._emit("debug", COMPILED_KERNEL, {"kernel": kernel_name, "layers": layers})


def _nodes(node_schedule: Any) -> Iterable[Any]:
    """The nodes of the graph that are fused into a kernel, each once; the schedule also holds marks of loops."""
    found: dict[Any, None] = {}
    for scheduled in node_schedule:
        for node in getattr(getattr(scheduled, "node", None), "origins", ()):
            found[node] = None
    return found


def layers_of(nodes: Iterable[Any]) -> dict[str, int]:
    """How many of a graph's nodes were traced in each innermost module, by its name below the compiled one."""
    layers: dict[str, int] = {}
    for node in nodes:
        stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack")
        if not stack:
            continue
        name = layer_name(str(list(stack.values())[-1][0]))
        if name:
            layers[name] = layers.get(name, 0) + 1
    return layers


def layer_name(path: str) -> str:
    """``layers.0.fc`` for Dynamo's ``L['self'].layers[0].fc``; empty for the compiled module itself."""
    return _WRAPPERS.sub("", _ITEM.sub(r".\1", _ROOT.sub("", path)).lstrip("."))
