"""Calls us once a module has been imported, so that what a program never imports costs nothing.

Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import get_ident
from types import ModuleType
from typing import Any


class _Loader:
    """A module's own loader, with a call after it."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        self._loader = loader
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module as its own loader makes it."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, then the call."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then()


# Python leaves its own import machinery out of a traceback by this name.
_code = _Loader.exec_module.__code__
_Loader.exec_module.__code__ = _code.replace(co_filename="<frozen importlib._bootstrap_external>")


class ImportWatcher:
    """A meta path finder that finds nothing itself and calls ``then`` after the modules it was given."""

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[], None]] = {}
        self._searching: set[int] = set()

    def after_import(self, name: str, then: Callable[[], None]) -> None:
        """Call ``then`` now if the module is there, else when it has been imported. ``then`` must not raise."""
        if name in sys.modules:
            then()
            return
        if not self._waiting:
            sys.meta_path.insert(0, self)
        self._waiting[name] = then

    def remove(self) -> None:
        """Wait for nothing any more."""
        self._waiting.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: Any = None) -> ModuleSpec | None:
        """The module's spec as the other finders have it, with our call behind its loader."""
        thread = get_ident()
        if name not in self._waiting or name in sys.modules or thread in self._searching:
            return None
        self._searching.add(thread)
        try:
            spec = find_spec(name)
        finally:
            self._searching.discard(thread)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, self._waiting[name])  # type: ignore[assignment]  # a loader by its methods
        return spec
