"""Layers: a wrapper around ``torch.nn.Module.__call__``, and the names of the modules that pass through it."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.modules.module import register_module_module_registration_hook

from deepseek_prof.collectors.dynamo import passes_through, stays_outside
from deepseek_prof.collectors.tracebacks import leave_out_wrapper

# How a module's frame is named; the values of LayerName in native/recorder.h.
BELOW_PARENT, ROOT, TRANSPARENT = 0, 1, 2

# Modules that only wrap another one: attribute of the wrapped module by class name. Their own frame is left out and
# their attribute is no part of a layer's name, so that eager, compiled and distributed runs share names.
WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "AveragedModel": "module",
}

Resolved = tuple[int, str, list[int]]
_Call = Callable[..., Any]


def _hidden(module: torch.nn.Module) -> str | None:
    """The attribute that holds what a wrapper wraps; the optimizer's own wrappers say which it is."""
    found: str | None = WRAPPERS.get(type(module).__name__) or getattr(type(module), "_deepseek_prof_wraps", None)
    return found


def wrapped(module: torch.nn.Module) -> torch.nn.Module | None:
    """The module that a pure wrapper stands for, or None if this is no wrapper."""
    attribute = _hidden(module)
    return module._modules.get(attribute) if attribute is not None else None


def _is_captured_graph(module: torch.nn.Module) -> bool:
    """Whether torch.compile made it from the program's modules: its operators are those of the layer around it."""
    return any(kind.__name__ == "_LazyGraphModule" for kind in type(module).__mro__)


def _written_out(name: str) -> str:
    """The name without what neither a C string nor UTF-8 can hold: null characters and lone surrogates as escapes."""
    if name.isascii() and "\0" not in name:
        return name
    return name.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def paths_below(parent: torch.nn.Module, module: torch.nn.Module) -> list[str]:
    """Every attribute path from ``parent`` to ``module``, wrappers' own attributes left out."""
    found: list[str] = []
    seen: set[int] = set()

    def walk(node: torch.nn.Module, path: str) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        hidden = _hidden(node)
        for name, child in node._modules.items():
            if child is None:
                continue
            own = _written_out(name)
            below = path if name == hidden else (f"{path}.{own}" if path else own)
            if child is module:
                found.append(below)
            walk(child, below)
        seen.discard(id(node))

    walk(parent, "")
    return list(dict.fromkeys(found))


class LayerNames:
    """Names modules by their place below the module that called them.

    A module that stands in two places is named after the place it was called from; where one parent holds it under
    several names, the name lists them (``a|b``), since the call does not tell which was meant.
    """

    def __init__(self, forget: Callable[[int], None]) -> None:
        self._forget = forget
        self._references: dict[int, weakref.ref[torch.nn.Module]] = {}
        self._roots: dict[str, list[weakref.ref[torch.nn.Module] | None]] = {}

    @stays_outside
    def resolve(self, parent_address: int, outer: str, module: torch.nn.Module) -> Resolved:
        """Name ``module`` below the module at ``parent_address`` (0: none), whose own name is ``outer`` ("": a root).

        Returns:
            how it is named (``BELOW_PARENT``, ``ROOT`` or ``TRANSPARENT``), the layer's name, and the addresses of
            the parameters that it holds.
        """
        self._watch(module)
        reference = self._references.get(parent_address)
        parent = reference() if reference is not None else None
        if (parent is not None and wrapped(parent) is module) or _is_captured_graph(module):
            return TRANSPARENT, "", []
        parameters = [int(parameter._cdata) for parameter in module.parameters()]
        if parent is not None:
            paths = paths_below(parent, module)
            if paths:
                text = "|".join(f"{outer}.{path}" if outer else path for path in paths[:4])
                return BELOW_PARENT, text, parameters
        return ROOT, self._root_name(module), parameters

    @stays_outside
    def registered(self, parent: torch.nn.Module, name: str, module: torch.nn.Module | None) -> None:
        """A module takes a place: if it has been named before, it is named anew when it is called next."""
        if module is not None and parent._modules.get(name) is not module:
            self._rename(module)

    @stays_outside
    def renumbered(self, container: torch.nn.Module) -> None:
        """The modules of a list have moved."""
        for module in container._modules.values():
            if module is not None:
                self._rename(module)

    def _rename(self, module: torch.nn.Module) -> None:
        if id(module) in self._references:
            self._forget(id(module))

    def _root_name(self, module: torch.nn.Module) -> str:
        inner = wrapped(module)
        while inner is not None and wrapped(inner) is not None:
            inner = wrapped(inner)
        named = inner if inner is not None else module
        # A scripted or traced module knows the class that it was made from.
        name = str(getattr(named, "original_name", "") or type(named).__name__)
        holders = self._roots.setdefault(name, [])
        if not named._modules:  # a lone leaf, such as a loss: one name for all of its class
            return name
        ordinal = next((i for i, holder in enumerate(holders) if holder is not None and holder() is named), None)
        if ordinal is None:
            ordinal = next((i for i, holder in enumerate(holders) if holder is None or holder() is None), len(holders))
            holders[ordinal : ordinal + 1] = [weakref.ref(named)]
        return name if ordinal == 0 else f"{name}#{ordinal + 1}"

    def _watch(self, module: torch.nn.Module) -> None:
        address = id(module)
        known = self._references.get(address)
        if known is not None and known() is module:
            return

        @stays_outside
        def freed(_: weakref.ref[torch.nn.Module]) -> None:
            self._references.pop(address, None)
            self._forget(address)

        self._references[address] = weakref.ref(module, freed)


# Methods that renumber a list's modules without registering them.
_RENUMBERING = tuple(
    (kind, name) for kind in (torch.nn.ModuleList, torch.nn.Sequential) for name in ("insert", "__delitem__")
)

_original: _Call | None = None
_installed: _Call | None = None
_undo: list[Callable[[], None]] = []


def install_layers(push: Callable[[torch.nn.Module], bool], pop: Callable[[], None], names: LayerNames) -> None:
    """Put the wrapper in place of ``torch.nn.Module.__call__``.

    Subclasses that define ``__call__`` reach it through ``super().__call__``; a program that patches
    ``torch.nn.Module.__call__`` itself wraps or replaces ours, as it would torch's own. ``names`` hears of modules that
    change their place.
    """
    global _original, _installed
    stays_outside(push)
    stays_outside(pop)
    original: _Call = torch.nn.Module.__call__
    is_compiling = torch.compiler.is_dynamo_compiling  # of is_compiling, the half that Dynamo decides; half the cost

    @passes_through
    def __call__(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: N807  # it stands in for it
        if is_compiling():  # traced by Dynamo: no frame, and so no graph break
            return original(self, *args, **kwargs)
        pushed = push(self)
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_wrapper(error)
            raise
        finally:
            if pushed:
                pop()

    _original, _installed = original, __call__
    torch.nn.Module.__call__ = __call__  # type: ignore[method-assign]  # the point of this function
    _undo.append(register_module_module_registration_hook(names.registered).remove)
    for kind, method in _RENUMBERING:
        _follow(kind, method, names.renumbered)


def _follow(kind: type[torch.nn.Module], method: str, then: Callable[[torch.nn.Module], None]) -> None:
    """Call ``then(module)`` after ``method`` of the class ``kind``."""
    original: _Call = getattr(kind, method)

    @stays_outside
    @functools.wraps(original)
    def ours(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        then(self)
        return result

    def restore() -> None:
        if getattr(kind, method) is ours:
            setattr(kind, method, original)

    setattr(kind, method, ours)
    _undo.append(restore)


def remove_layers() -> None:
    """Take the wrapper away again, unless the program has put its own in front of it."""
    global _original, _installed
    if _original is not None and torch.nn.Module.__call__ is _installed:
        torch.nn.Module.__call__ = _original  # type: ignore[method-assign]  # restores what install_layers replaced
    _original = _installed = None
    while _undo:
        _undo.pop()()
