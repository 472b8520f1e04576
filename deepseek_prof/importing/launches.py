"""What the host started on devices: from the number of a call or of an operator to the context that it was made in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepseek_prof.importing.event_columns import Int64s


class Launches:
    """Contexts and times by number. Add everything, then look up."""

    def __init__(self) -> None:
        self._keys: list[Int64s] = []
        self._contexts: list[npt.NDArray[np.int32]] = []
        self._start_ns: list[Int64s] = []

    def add(self, keys: Int64s, contexts: npt.NDArray[np.int32], start_ns: Int64s) -> None:
        """Adds calls that were made in ``contexts`` at these times; a key of 0 or less means none."""
        good = keys > 0
        self._keys.append(keys[good])
        self._contexts.append(contexts[good])
        self._start_ns.append(start_ns[good])

    def find(self, keys: Int64s) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32], Int64s]:
        """Which of ``keys`` are known, and the context and start of each (anything where it is not)."""
        if not any(map(len, self._keys)):
            count = len(keys)
            return np.zeros(count, bool), np.zeros(count, np.int32), np.zeros(count, np.int64)
        known = np.concatenate(self._keys)
        order = np.argsort(known, kind="stable")
        rows = order[np.minimum(np.searchsorted(known, keys, sorter=order), len(known) - 1)]
        return known[rows] == keys, np.concatenate(self._contexts)[rows], np.concatenate(self._start_ns)[rows]
