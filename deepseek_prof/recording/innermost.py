"""The innermost span around a moment, for many moments at once.

Spans of a thread nest and stand in the order of their ends. So the innermost one around ``t`` is the first that ends
after ``t`` and starts no later. Where it ends is found by bisection; from there the first start that is early enough
is found in a pyramid of minima, in a number of steps that grows with the logarithm of the number of spans.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepseek_prof.recording.segments import Int64s

_NEVER = np.iinfo(np.int64).max


def innermost(start_ns: Int64s, end_ns: Int64s, ts_ns: Int64s) -> npt.NDArray[np.int64]:
    """For each of ``ts_ns``, the index of the innermost span around it; -1 where there is none among these.

    Args:
        start_ns: starts of the spans of one thread, of shape (spans,).
        end_ns: their ends, ascending.
        ts_ns: moments, in any order.
    """
    if not len(start_ns):
        return np.full(len(ts_ns), -1, dtype=np.int64)
    levels, offsets = _pyramid(start_ns)
    index = np.searchsorted(end_ns, ts_ns, side="right").astype(np.int64)
    level = np.zeros(len(ts_ns), dtype=np.int64)
    top = len(offsets) - 1
    found = np.full(len(ts_ns), -1, dtype=np.int64)
    # Upwards: node `index` of `level` is the next not yet ruled out; a node that is ruled out leads to its right
    # neighbour, or, where that begins a larger node, to the larger one.
    climbing = np.flatnonzero(index < len(start_ns))
    while len(climbing):
        here, ts = climbing, ts_ns[climbing]
        fits = levels[offsets[level[here]] + index[here]] <= ts
        found[here[fits]] = 0
        climbing = here[~fits]
        index[climbing] += 1
        level_now = level[climbing]
        even = (index[climbing] & 1 == 0) & (level_now < top)
        index[climbing[even]] >>= 1
        level[climbing[even]] += 1
        climbing = climbing[index[climbing] < _length(len(start_ns), level[climbing])]
    # Downwards: the left half first.
    falling = np.flatnonzero((found == 0) & (level > 0))
    while len(falling):
        level[falling] -= 1
        index[falling] <<= 1
        late = levels[offsets[level[falling]] + index[falling]] > ts_ns[falling]
        index[falling[late]] += 1
        falling = falling[level[falling] > 0]
    return np.where(found == 0, index, -1)


def _pyramid(values: Int64s) -> tuple[Int64s, Int64s]:
    """Minima of 1, 2, 4, … neighbours one after the other, and where each level begins."""
    rows = [values]
    while len(rows[-1]) > 1:
        row = rows[-1]
        if len(row) % 2:
            row = np.append(row, _NEVER)
        rows.append(row.reshape(-1, 2).min(axis=1))
    # Each level is padded by one, where the right half of a node may lie outside.
    padded = [np.append(row, _NEVER) for row in rows]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in padded])[:-1])).astype(np.int64)
    return np.concatenate(padded), offsets


def _length(leaves: int, level: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many nodes a level has."""
    length: npt.NDArray[np.int64] = (leaves + (np.int64(1) << level) - 1) >> level
    return length
