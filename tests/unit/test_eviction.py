"""Raw spans that have to go leave their sums, once, whenever the work is cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deepseek_prof.recording.eviction import evict_oldest, sum_by_context, summed_spans
from deepseek_prof.recording.part_files import PartFiles, read_table
from deepseek_prof.trace.schema import SPANS, SUMS


def spans(*rows: tuple[int, int, int, int]) -> pa.Table:
    """Rows of ``(tid, context_id, dur_ns, self_ns)``."""
    names = ("tid", "context_id", "dur_ns", "self_ns")
    return pa.Table.from_pylist([{"start_ns": 1, **dict(zip(names, row, strict=True))} for row in rows], schema=SPANS)


def sums(files: PartFiles, pid: int) -> list[tuple[int, ...]]:
    rows = read_table(files.sums_path(pid)).to_pylist()
    return sorted(tuple(row[name] for name in SUMS.names) for row in rows)


def test_the_oldest_part_becomes_sums_by_thread_and_context(tmp_path: Path) -> None:
    files = PartFiles(tmp_path)
    files.add(7, spans((1, 10, 5, 2), (1, 10, 9, 3), (1, 11, 4, 4), (2, 10, 1, 1)), [], steps_known=True)
    kept = files.add(7, spans((1, 10, 100, 50)), [], steps_known=True)
    assert evict_oldest(files, kept.size_bytes) == 4
    assert sums(files, 7) == [(1, 10, 2, 14, 5, 9), (1, 11, 1, 4, 4, 4), (2, 10, 1, 1, 1, 1)]
    assert files.parts == [kept]
    assert files.size_bytes == kept.size_bytes
    assert summed_spans(files, 7) == 4


def test_a_part_has_no_launches_of_one_that_was_never_finished(tmp_path: Path) -> None:
    files = PartFiles(tmp_path)
    (tmp_path / "launches/rank=0/pid=7").mkdir(parents=True)
    stale = tmp_path / "launches/rank=0/pid=7/part-00000.parquet"
    leftover = stale.with_name(".part-00001.parquet.tmp")
    stale.touch()
    leftover.touch()
    files.add(7, spans((1, 10, 5, 2)), [], steps_known=True)
    assert not stale.exists()
    PartFiles(tmp_path)
    assert not leftover.exists()


def test_sums_add_up_over_parts_and_stay_apart_by_process(tmp_path: Path) -> None:
    files = PartFiles(tmp_path)
    for pid, dur_ns in ((7, 5), (8, 50), (7, 6), (7, 7)):
        files.add(pid, spans((1, 10, dur_ns, 1)), [], steps_known=True)
    assert evict_oldest(files, 1) == 3
    assert sums(files, 7) == [(1, 10, 2, 11, 2, 6)]
    assert sums(files, 8) == [(1, 10, 1, 50, 1, 50)]


def test_the_newest_part_stays_whatever_the_limit(tmp_path: Path) -> None:
    files = PartFiles(tmp_path)
    files.add(7, spans((1, 10, 5, 2)), [], steps_known=True)
    assert evict_oldest(files, 1) == 0
    assert evict_oldest(files, 1 << 40) == 0
    assert files.rows == 1


def test_a_part_whose_deletion_was_cut_short_is_not_summed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = PartFiles(tmp_path)
    for dur_ns in (5, 6):
        files.add(7, spans((1, 10, dur_ns, 1)), [], steps_known=True)

    def is_killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(PartFiles, "remove", is_killed)
        with pytest.raises(KeyboardInterrupt):
            evict_oldest(files, 1)
    again = PartFiles(tmp_path)
    assert [part.number for part in again.parts] == [1]
    evict_oldest(again, 1)
    assert sums(again, 7) == [(1, 10, 1, 5, 1, 5)]


def test_numbers_go_on_after_all_parts_were_summed(tmp_path: Path) -> None:
    files = PartFiles(tmp_path)
    for _ in range(2):
        files.add(7, spans((1, 10, 5, 1)), [], steps_known=True)
    evict_oldest(files, 1)
    files.remove(files.parts[0])
    assert PartFiles(tmp_path).add(7, spans((1, 10, 5, 1)), [], steps_known=True).number == 1


def test_sums_of_nothing_are_nothing() -> None:
    assert sum_by_context(SUMS.empty_table()).num_rows == 0
