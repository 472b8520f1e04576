"""Which thread is meant by a backward node's "Fwd thread id": the profiler counts threads in a way of its own."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepseek_prof.importing.event_columns import Columns, Int64s

Int32s: TypeAlias = npt.NDArray[np.int32]


def forward_threads(
    thread: Int32s, start_ns: Int64s, sequence: Int64s, forward_id: Int32s, flows: Columns
) -> dict[int, int]:
    """The thread of each forward thread id that occurs.

    Where several threads run forward, the arrows that the profiler draws from forward to backward decide; without
    them, the thread that has the most sequence numbers in common with the backward nodes.

    Args:
        thread, start_ns, sequence, forward_id: of the events that have a sequence number; ids from 1 are those of
            backward nodes.
        flows: the ends of the arrows.
    """
    forward = forward_id <= 0
    candidates = np.unique(thread[forward]).tolist()
    ids = np.unique(forward_id[~forward]).tolist()
    if len(candidates) == 1:
        return dict.fromkeys(ids, candidates[0])
    votes = _votes_of_arrows(thread[~forward], start_ns[~forward], forward_id[~forward], flows)
    found: dict[int, int] = {}
    for each in ids:
        if each not in votes:
            wanted = sequence[forward_id == each]
            shared = {
                candidate: int(np.isin(wanted, sequence[forward & (thread == candidate)]).sum())
                for candidate in candidates
            }
            votes[each] = Counter(shared)
        if votes[each]:
            found[each] = votes[each].most_common(1)[0][0]
    return found


def _votes_of_arrows(thread: Int32s, start_ns: Int64s, forward_id: Int32s, flows: Columns) -> dict[int, Counter[int]]:
    id_at = dict(zip(zip(thread.tolist(), start_ns.tolist(), strict=True), forward_id.tolist(), strict=True))
    begins = flows["begins"]
    began = dict(zip(flows["identity"][begins].tolist(), flows["thread"][begins].tolist(), strict=True))
    ended = (flows[name][~begins].tolist() for name in ("identity", "thread", "start_ns"))
    votes: dict[int, Counter[int]] = {}
    for identity, end_thread, end_ns in zip(*ended, strict=True):
        each = id_at.get((end_thread, end_ns))
        if identity in began and each is not None:
            votes.setdefault(each, Counter())[began[identity]] += 1
    return votes
