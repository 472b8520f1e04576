"""The program that stands for ``--model`` and for the Python API: builds a model and calls it on its inputs.

Run as a script in the user's environment, so it imports nothing of ours while it is one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepseek_prof.recording.command import Command

_CALLS = 30


def factory_command(name: str) -> Command:
    """The command that builds and calls what ``module:factory`` returns. Raises UsageError for another form."""
    from deepseek_prof.errors import UsageError
    from deepseek_prof.recording.command import Command, active_python

    module, colon, factory = name.partition(":")
    if not colon or not module or not factory.isidentifier():
        raise UsageError(f"--model {name!r}: write it as package.module:factory.")
    return Command((active_python(), __file__, "factory", name), module.rpartition(".")[2], active_python())


def saved_command(path: str) -> Command:
    """The command that calls a model saved by ``torch.save((model, inputs), path)``."""
    from deepseek_prof.recording.command import Command, active_python

    return Command((active_python(), __file__, "saved", path), "model", active_python())


def main(how: str, what: str) -> None:
    """Call the model some times: in evaluation without gradients, in training with."""
    # A script's own folder is first on the path, and holds modules that the user's could be confused with.
    sys.path[0] = ""
    import torch

    if how == "factory":
        from importlib import import_module

        module, _, factory = what.partition(":")
        model, inputs = getattr(import_module(module), factory)()
    else:
        model, inputs = torch.load(what, weights_only=False)
    calls = inputs if isinstance(inputs, list) else [inputs]
    with torch.set_grad_enabled(model.training):
        for _ in range(_CALLS):
            for each in calls:
                _call(model, each)


def _call(model: Any, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
