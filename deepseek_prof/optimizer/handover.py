"""The hand-over in a candidate's process: makes the packages, and loads what was handed over as a user would.

Standard library and torch only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from deepseek_prof.optimizer.protocol import Applied, Callee, Captured
from deepseek_prof.optimizer.python_file import imported_file
from deepseek_prof.optimizer.values import copied, signature


def applied_by_file(path: str, captured: Captured) -> Callable[[], Callee]:
    """What makes the callee by the function ``apply`` of the Python file at ``path``."""

    def make() -> Callee:
        calls = [copied(call).given for call in captured.all_calls]
        made: Callee = imported_file(path).apply(captured.module, calls)
        return made

    return make


def package(applied: Sequence[Applied], files: Sequence[str], captured: Captured) -> None:
    """Compile what the passes made ahead of time, one package for each signature.

    Raises:
        ValueError: none of the passes compiles.
        Exception: whatever ``torch.export`` and Inductor raise where the module cannot be exported or compiled.
    """
    modules = next((each.compiles for each in applied if each.compiles), ())
    if not modules:
        raise ValueError("none of the passes compiles")
    for index, (call, path) in enumerate(zip(captured.calls, files, strict=True)):
        program = torch.export.export(modules[index % len(modules)], *copied(call).given, strict=False)
        torch._inductor.aoti_compile_and_package(
            program, package_path=path, inductor_configs={"freezing": captured.device == "cpu"}
        )


def loaded(files: Sequence[str], captured: Captured) -> Callable[[], Callee]:
    """What loads the packages of :func:`package` and chooses by a call's signature."""

    def make() -> Callee:
        programs = {
            signature(call.given): torch._inductor.aoti_load_package(path)
            for call, path in zip(captured.calls, files, strict=True)
        }

        def call(*args: Any, **kwargs: Any) -> Any:
            return programs[signature((args, kwargs))](*args, **kwargs)

        return call

    return make
