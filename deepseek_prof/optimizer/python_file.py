"""Loads the Python file of a hand-over as a program's ``import`` would.

Standard library and torch only.
"""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType


@cache
def imported_file(path: str) -> ModuleType:
    """The module that the file at ``path`` makes; of each file one in a process.

    It stands in ``sys.modules``, where Dynamo looks up the globals of functions that it traces.

    Raises:
        Exception: whatever the file raises.
    """
    name = f"deepseek_prof_applied_{sha256(path.encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
