"""Runs at the start of every Python process of a recorded program and waits for torch; see docs/architecture.md.

Standard library only, and nothing of ours is imported before torch is: a program without torch pays only for this.
"""

import os
import sys
from _thread import get_ident


def _chain() -> None:
    """Leave the module path as the user's, and run the ``sitecustomize`` that we stand in front of."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here or not entry]
    spec = PathFinder.find_spec("sitecustomize")
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


class _TorchLoader:
    """The loader of torch, with our attachment after it."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):  # everything else is the real loader's
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _attach()


# Python leaves its own import machinery out of a traceback by this name: a torch that fails to import fails as bare.
_TorchLoader.exec_module.__code__ = _TorchLoader.exec_module.__code__.replace(
    co_filename="<frozen importlib._bootstrap_external>"
)


class _TorchFinder:
    """Meta path finder: notices the import of torch, and finds our own package for the child's half."""

    def __init__(self):
        self.searching = set()  # threads that ask the other finders for torch at this moment

    def find_spec(self, name, path=None, target=None):
        # No import before the name is known: it would come back here.
        if name == "deepseek_prof":  # ours, wherever it is installed: the user's environment may lack it
            from importlib.machinery import PathFinder

            return PathFinder.find_spec(name, [os.environ["DEEPSEEK_PROF_PACKAGE"]])
        # Not only imports ask: programs look whether torch is there before they import it.
        thread = get_ident()
        if name != "torch" or name in sys.modules or thread in self.searching:
            return None
        from importlib.util import find_spec

        self.searching.add(thread)
        try:
            spec = find_spec("torch")
        finally:
            self.searching.discard(thread)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _TorchLoader(spec.loader)  # type: ignore[assignment]  # a loader by its methods
        return spec


def _attach() -> None:
    try:
        from deepseek_prof.collectors.child import attach

        attach()
        other = os.environ.get("DEEPSEEK_PROF_ATTACH")  # the optimizer's half, where it runs the program
        if other:
            from importlib import import_module

            import_module(other).attach()
    except Exception as error:  # noqa: BLE001  # whatever fails in us, the user's program runs on
        print(
            f"deepseek-prof: warning: this process is not recorded: {type(error).__name__}: {error}",
            file=sys.stderr,
        )


if os.environ.get("DEEPSEEK_PROF_LIVE") or os.environ.get("DEEPSEEK_PROF_ATTACH"):
    sys.meta_path.insert(0, _TorchFinder())
_chain()
