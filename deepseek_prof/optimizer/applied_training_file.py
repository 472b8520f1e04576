"""The Python file of the hand-over of a training: applies the winning passes to model, optimizer and loader."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from deepseek_prof.optimizer.applied_file import bought, comment, docstring
from deepseek_prof.optimizer.results import CandidateResult

_OF_LOADERS = "dataloader"


def training_source(root: str, row: CandidateResult, alone: Sequence[CandidateResult], facts: Sequence[str]) -> str:
    """The text of the file; the arguments are those of ``applied_file.source``."""
    functions, applied = [], []
    loads = _OF_LOADERS in row.passes
    for name, options, code in zip(row.passes, row.options, row.code, strict=True):
        body = textwrap.indent(code, "    ", lambda line: bool(line.strip()))
        about = f"# {bought(name, options, alone)}\n"
        if name == _OF_LOADERS:
            says = "A loader of the same batches, loaded by workers: `loader = with_workers(loader)`, once."
            functions.append(f'{about}def with_workers(loader):\n    """{says}"""\n{body}\n    return loader')
        else:
            functions.append(f"{about}def _{name}(model, optimizers):\n{body}\n    return model")
            applied.append(f"    model = _{name}(model, optimizers)")
    about = "\n".join(f"# {comment(line)}" for line in facts)
    joined, calls = "\n\n\n".join(functions), "".join(f"{line}\n" for line in applied)
    use = ["model = apply(model, optimizer)", *(["loader = with_workers(loader)"] if loads else [])]
    shown = "\n".join(f"    {line}" for line in use)
    return f'''\
"""Applies {" + ".join(row.passes)} to a training. From this file, before the first step:

{shown}

Made by deepseek-prof optimize. It needs torch only, and is yours to change.
"""

{about}

import torch


{joined}


def apply(model, *optimizers):
    """The faster model, of the same weights; it and its optimizers are changed in place.

    model: {docstring(root)}, on its device.
    optimizers: all that update its weights, before their first step. The training loop stays as it is.
    """
{calls}    return model
'''
