"""The Python file of the hand-over: applies the winning passes to the user's model with torch alone."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.text import clean

_NAME_LIMIT = 200


def source(root: str, row: CandidateResult, alone: Sequence[CandidateResult], facts: Sequence[str]) -> str:
    """The text of the file.

    Args:
        root: name of the module's class.
        row: what is handed over.
        alone: rows of single passes, which say what each bought by itself.
        facts: lines on where and how that was measured.
    """
    functions = "\n\n\n".join(
        _function(name, code, bought(name, options, alone))
        for name, options, code in zip(row.passes, row.options, row.code, strict=True)
    )
    applied = "\n".join(f"    model = {name}(model, calls)" for name in row.passes)
    about = "\n".join(f"# {comment(line)}" for line in (*facts, *_kept(row)))
    needs = "torch and torchao" if "quantize" in row.passes else "torch"
    return f'''\
"""Applies {" + ".join(row.passes)} to a model: from this file, `model = apply(model, calls)`.

Made by deepseek-prof optimize. It needs {needs} only, and is yours to change.
"""

{about}

import torch


{functions}


def apply(model, calls=()):
    """The faster model. It may share its weights with the one that it gets, and change it.

    model: {docstring(root)}, with its weights, in evaluation; call this and the result under torch.inference_mode()
    or torch.no_grad().
    calls: pairs of arguments and keyword arguments, as the model is called with; int8 takes its ranges from them.
    """
{applied}
    return model
'''


def _function(name: str, code: str, bought: str) -> str:
    body = textwrap.indent(code, "    ")
    return f"# {bought}\ndef {name}(model, calls):\n{body}\n    return model"


def bought(name: str, options: object, alone: Sequence[CandidateResult]) -> str:
    """What the pass brought by itself, in a line."""
    for row in alone:
        if row.passes == (name,) and row.options == (options,) and row.speedup is not None and row.interval is not None:
            low, high = row.interval
            return f"By itself {row.speedup:.2f} x, 95 % interval {low:.2f} to {high:.2f}: {row.status}."
    return "Not measured by itself."


def _kept(row: CandidateResult) -> list[str]:
    return [f"Kept in float: {name}" for name in row.kept_in_float]


def comment(line: str) -> str:
    """On one line, whatever the program named."""
    return clean(line, _NAME_LIMIT)


def docstring(name: str) -> str:
    """A name that cannot end the text around it."""
    return json.dumps(clean(name, _NAME_LIMIT))[1:-1].replace('"', "'")
