"""How many samples and tokens the program's root module is called with: counted at its calls, read by the parent.

The root that counts is the first one with parameters (a loss has none). Standard library and torch only: it runs in the
user's environment.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Mapping
from typing import Any

import torch

from deepseek_prof.collectors.dynamo import stays_outside
from deepseek_prof.recording.input_totals import InputTotalsWriter

_MAX_DEPTH = 3
_TOKEN_TYPES = (torch.int64, torch.int32)
_tracing_state = torch._C._get_tracing_state


class RootInputs:
    """Sums over the calls of one process; :meth:`note` is told of some calls, and of how many there were since."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin at zero, with a file of its own: after a fork the file is the parent's."""
        self._writer: InputTotalsWriter | None = None
        self._failed = False
        self._counted: weakref.ref[torch.nn.Module] | None = None
        self._calls = self._samples = self._tokens = 0

    @stays_outside
    def note(self, module: torch.nn.Module, calls: int, depth: int = 1) -> bool:
        """``module`` is being called, for the ``calls``-th time since the last note.

        Args:
            module: the root.
            calls: how many of its calls to count, all with inputs of the present size.
            depth: frames from here up to the wrapper of ``nn.Module.__call__``, whose arguments are looked at.

        Returns:
            whether this is the root that counts.
        """
        if self._counted is None or self._counted() is not module:
            if next(module.parameters(), None) is None:
                return False
            self._counted = weakref.ref(module)
        self._calls += calls
        # Reading a shape while torch.jit traces would add to the program's graph.
        found = None if _tracing_state() is not None else _called_with(sys._getframe(depth).f_locals)
        if found is not None:
            samples, tokens = input_size(found)
            self._samples += calls * samples
            self._tokens += calls * tokens
            self._write()
        return True

    def _write(self) -> None:
        if self._writer is None and not self._failed:
            from deepseek_prof.collectors.child import current

            attachment = current()
            if attachment is None:
                return
            try:
                attachment.make_directory()
                self._writer = InputTotalsWriter(attachment.directory)
            except OSError as error:
                self._failed = True
                attachment.warn(f"samples and tokens are not counted: {error}")
        if self._writer is not None:
            self._writer.write(time.monotonic_ns(), self._calls, self._samples, self._tokens)


def _called_with(wrapper: Mapping[str, Any]) -> torch.Tensor | None:
    """The tensor that tells the size of a batch: ``input_ids`` where there is one, else the first with a dimension."""
    found = first_tensor(wrapper.get("args"), _MAX_DEPTH)
    return found if found is not None else first_tensor(wrapper.get("kwargs"), _MAX_DEPTH)


def first_tensor(value: Any, depth: int) -> torch.Tensor | None:
    """The first plain tensor with a dimension in lists, tuples and dicts; subclasses may run code of their own."""
    if type(value) is torch.Tensor:
        return value if value.ndim else None
    if depth and isinstance(value, Mapping):
        named = value.get("input_ids")
        if type(named) is torch.Tensor and named.ndim:
            return named
        value = list(value.values())
    if depth and type(value) in (list, tuple):
        for each in value:
            found = first_tensor(each, depth - 1)
            if found is not None:
                return found
    return None


def input_size(tensor: torch.Tensor) -> tuple[int, int]:
    """Samples and tokens of a batch: a matrix of whole numbers is one of token ids, ``[batch, length]``."""
    return tensor.shape[0], tensor.numel() if tensor.ndim == 2 and tensor.dtype in _TOKEN_TYPES else 0
