"""The sums of a growing run's parts, each of which is read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from deepseek_prof.analysis.totals import added, sums_of
from deepseek_prof.recording.part_files import part_number
from deepseek_prof.trace.run import Run
from deepseek_prof.trace.views import select_files

_BLOCK_PARTS = 8


@dataclass(frozen=True)
class _Block:
    """Neighbouring parts of one process, and their sums."""

    parts: frozenset[Path]
    sums: pa.Table


class PartTotals:
    """Sums by process, thread, context and device. No part changes but for its steps, which no sum depends on.

    A largest duration cannot be taken out of a sum: where ``--max-size`` removes a part, the others of its block are
    read again.
    """

    def __init__(self) -> None:
        self._blocks: dict[tuple[Path, int], _Block] = {}

    def refresh(self, run: Run, pinned: Mapping[Path, int]) -> list[pa.Table]:
        """The sums of ``pinned`` parts with their descriptors, in several tables to be added up.

        Raises:
            RunDamagedError: a part cannot be read.
        """
        blocks: defaultdict[tuple[Path, int], set[Path]] = defaultdict(set)
        for path in pinned:
            blocks[path.parent, part_number(path.name) // _BLOCK_PARTS].add(path)
        self._blocks = {
            key: self._block(run, frozenset(parts), self._blocks.get(key), pinned) for key, parts in blocks.items()
        }
        return [block.sums for block in self._blocks.values()]

    def _block(self, run: Run, parts: frozenset[Path], before: _Block | None, pinned: Mapping[Path, int]) -> _Block:
        if before is not None and before.parts == parts:
            return before
        if before is not None and before.parts < parts:
            new = self.read(run, sorted(parts - before.parts), pinned)
            return _Block(parts, _sum_tables(run, [before.sums, new]))
        return _Block(parts, self.read(run, sorted(parts), pinned))

    def read(self, run: Run, parts: list[Path], pinned: Mapping[Path, int]) -> pa.Table:
        """The sums of ``parts``, of one process, from their spans."""
        return run.table(sums_of(f"({select_files(run.path, 'spans', parts, pinned)})"))


def _sum_tables(run: Run, tables: list[pa.Table]) -> pa.Table:
    run.connection.register("part_sums", pa.concat_tables(tables))
    try:
        return run.table(added("part_sums"))
    finally:
        run.connection.unregister("part_sums")
