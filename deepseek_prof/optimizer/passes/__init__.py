"""The passes by name; each is loaded when it is used, because handlers import torch inside their methods only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

from deepseek_prof.errors import UsageError
from deepseek_prof.optimizer.protocol import Applied, Handler

# name → (module, config class, handler class). A new pass is one file here and one line.
_HOMES: dict[str, tuple[str, str, str]] = {
    "layout": ("layout", "Layout", "LayoutHandler"),
    "fold": ("fold", "Fold", "FoldHandler"),
    "attention": ("attention", "Attention", "AttentionHandler"),
    "quantize": ("quantize", "Quantize", "QuantizeHandler"),
    "amp": ("amp", "Amp", "AmpHandler"),
    "fuse": ("fuse", "Fuse", "FuseHandler"),
    "checkpoint": ("checkpoint", "Checkpoint", "CheckpointHandler"),
    "accumulate": ("accumulate", "Accumulate", "AccumulateHandler"),
    "optimizer": ("optimizer", "FusedOptimizer", "FusedOptimizerHandler"),
    "dataloader": ("dataloader", "DataLoading", "DataLoadingHandler"),
    "threads": ("threads", "Threads", "ThreadsHandler"),
}
_EXCLUSIVE = ({"quantize", "fuse"}, {"quantize", "amp"}, {"checkpoint", "accumulate"})
"""Pairs that are never combined: ``quantize`` compiles what it makes, with products of a type of its own; the other two
compute the forward pass again, and both would do it twice."""
ALIASES = {"compile": "fuse", "channels_last": "layout", "sdpa": "attention"}


def names() -> tuple[str, ...]:
    """The names of all passes."""
    return tuple(_HOMES)


def resolve(name: str) -> str:
    """The pass's own name for a name or an alias. Raises UsageError for an unknown one."""
    found = ALIASES.get(name, name)
    if found not in _HOMES:
        raise UsageError(f"No pass {name!r}. There are: {', '.join(names())}.")
    return found


def combine(names: Collection[str]) -> bool:
    """Whether passes of these names can be applied together."""
    return len(set(names)) == len(names) and not any(pair <= set(names) for pair in _EXCLUSIVE)


def handler(name: str) -> Handler[Any]:
    """The handler of the pass of that name."""
    module, _, kind = _HOMES[resolve(name)]
    made: Handler[Any] = getattr(import_module(f"{__name__}.{module}"), kind)()
    return made


def config_from(name: str, options: dict[str, Any]) -> Any:
    """The config of a pass from plain values, as they went through JSON."""
    module, kind, _ = _HOMES[resolve(name)]
    return getattr(import_module(f"{__name__}.{module}"), kind)(**options)


def chosen(wanted: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[Handler[Any], Any]]:
    """Handlers and configs of passes by name and options, in the order in which they are applied."""
    found = [(handler(name), config_from(name, options)) for name, options in wanted]
    return sorted(found, key=lambda each: each[0].order)


def code_of(pairs: Sequence[tuple[Handler[Any], Any]], applied: Sequence[Applied]) -> list[str]:
    """The statements of each applied pass for the hand-over, with what it found on the module."""
    return [
        handler.code(config if each.config is None else each.config)
        for (handler, config), each in zip(pairs, applied, strict=True)
    ]


def defaults_of(name: str) -> dict[str, Any]:
    """The options of a pass where none is given."""
    return asdict(config_from(name, {}))


def options_of(config: Any) -> dict[str, Any]:
    """A config as plain values."""
    return asdict(config)
