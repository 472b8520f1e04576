"""deepseek-prof: records, explains and optimizes PyTorch programs. The public API is the list ``__all__``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "DynamicBatcher",
    "Run",
    "__version__",
    "annotate",
    "fuse_operators",
    "fusion_of",
    "load",
    "log",
    "log_metric",
    "optimize",
    "profile",
]

if TYPE_CHECKING:
    from deepseek_prof.api import LoadedRun as Run
    from deepseek_prof.api import load, profile
    from deepseek_prof.optimizer.fuse_operators import fuse_operators, fusion_of
    from deepseek_prof.optimizer.optimize import optimize
    from deepseek_prof.scopes import annotate
    from deepseek_prof.serving import DynamicBatcher
    from deepseek_prof.user_log import log, log_metric

# The package is imported into profiled programs too: nothing below is loaded before it is used.
_HOMES = {
    "DynamicBatcher": ("deepseek_prof.serving", "DynamicBatcher"),
    "Run": ("deepseek_prof.api", "LoadedRun"),
    "fuse_operators": ("deepseek_prof.optimizer.fuse_operators", "fuse_operators"),
    "fusion_of": ("deepseek_prof.optimizer.fuse_operators", "fusion_of"),
    "load": ("deepseek_prof.api", "load"),
    "optimize": ("deepseek_prof.optimizer.optimize", "optimize"),
    "profile": ("deepseek_prof.api", "profile"),
    "annotate": ("deepseek_prof.scopes", "annotate"),
    "log": ("deepseek_prof.user_log", "log"),
    "log_metric": ("deepseek_prof.user_log", "log_metric"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deepseek_prof' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
