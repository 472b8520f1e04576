"""How many operators a captured graph runs in eager mode, and how many kernels Inductor made of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

_WITHOUT_KERNEL = ("aten.empty", "aten.new_empty", "aten.detach", "aten.lift_fresh", "aten._unsafe_view", "aten.sym_")
_NOT_OF_THE_CALL = ("get_args", "benchmark_compiled_module")
_OUTSIDE = ("extern_kernels.", "torch.ops.")
"""Kernels that Inductor calls and has not written, such as those of oneDNN and cuDNN."""


class _Counter(TorchDispatchMode):
    """Counts operators that compute: views, and what only makes room, start no kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.count += not (func.is_view or str(func).startswith(_WITHOUT_KERNEL))
        return func(*args, **(kwargs or {}))


def operators_of(graph: torch.fx.GraphModule) -> int:
    """Operators that the graph runs in eager mode, found by running it on shapes alone: nothing is computed.

    Args:
        graph: as Dynamo hands it to a backend.

    Raises:
        ValueError: its inputs carry no shapes.
    """
    inputs = [node.meta.get("example_value") for node in graph.graph.nodes if node.op == "placeholder"]
    # Not detect_fake_mode: it prefers the mode in which Dynamo calls backends, and these inputs are of an earlier one.
    modes = [each.fake_mode for each in inputs if isinstance(each, FakeTensor)]
    if not modes:
        raise ValueError("The graph's inputs carry no shapes: it is none of Dynamo's.")
    counter = _Counter()
    with torch.no_grad(), modes[0], counter:
        torch.fx.Interpreter(graph).run(*inputs)
    return counter.count


def kernels_of(source: str) -> int:
    """Kernels that Inductor's output for a graph starts at each call: its own, and those of libraries.

    Args:
        source: the Python code that Inductor wrote.
    """
    tree = ast.parse(source)
    own = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and _path(node.value).startswith("async_compile.")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    called = (_path(node) for node in _of_the_call(tree) if isinstance(node, ast.Call))
    return sum(path.split(".")[0] in own or path.startswith(_OUTSIDE) for path in called)


def _of_the_call(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.FunctionDef) and child.name in _NOT_OF_THE_CALL):
            yield child
            yield from _of_the_call(child)


def _path(node: ast.AST) -> str:
    """``a.b.c`` of a call of it; empty where it is none."""
    names: list[str] = []
    found = node.func if isinstance(node, ast.Call) else None
    while isinstance(found, ast.Attribute):
        names.append(found.attr)
        found = found.value
    if not isinstance(found, ast.Name):
        return ""
    return ".".join([found.id, *reversed(names)])
