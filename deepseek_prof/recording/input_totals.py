"""``inputs``: how many samples and tokens a process's root module has been called with, in one small mapped file.

Little-endian: magic ``DSPINP1\\0``, then five u64: turn, ts_ns (CLOCK_MONOTONIC, when the last counted call began),
calls, samples, tokens. The writer makes the turn odd, writes, and makes it even again.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "inputs"
MAGIC = b"DSPINP1\0"
_TURN = struct.Struct("<Q")
_TOTALS = struct.Struct("<QQQQ")
_TURN_AT, _TOTALS_AT = 8, 16
SIZE_BYTES = _TOTALS_AT + _TOTALS.size
_TRIES = 10


@dataclass(frozen=True)
class InputTotals:
    """Since the process began."""

    ts_ns: int
    calls: int
    samples: int
    tokens: int
    """0 where the inputs are no token ids."""


class InputTotalsWriter:
    """The file of this process. Raises OSError where it cannot be made."""

    def __init__(self, directory: Path) -> None:
        fd = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, SIZE_BYTES)  # a hole in a mapped file would be a signal on a full disk
            self._map = mmap.mmap(fd, SIZE_BYTES)
        finally:
            os.close(fd)
        self._map[: len(MAGIC)] = MAGIC
        self._turn = 0

    def write(self, ts_ns: int, calls: int, samples: int, tokens: int) -> None:
        """Replace the totals."""
        _TURN.pack_into(self._map, _TURN_AT, self._turn + 1)
        _TOTALS.pack_into(self._map, _TOTALS_AT, ts_ns, calls, samples, tokens)
        self._turn += 2
        _TURN.pack_into(self._map, _TURN_AT, self._turn)


def read_input_totals(directory: Path) -> InputTotals | None:
    """The totals of the process in ``directory``; None where there are none (yet), or where the file is damaged."""
    path = directory / FILE_NAME
    for _ in range(_TRIES):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) < SIZE_BYTES or not data.startswith(MAGIC):
            return None
        (turn,) = _TURN.unpack_from(data, _TURN_AT)
        found = InputTotals(*_TOTALS.unpack_from(data, _TOTALS_AT))
        after = path.read_bytes()
        if not turn:
            return None
        if turn % 2 == 0 and after[_TURN_AT:_TOTALS_AT] == data[_TURN_AT:_TOTALS_AT]:
            return found
    return None
