"""The Parquet files of a run that the converter writes: names, atomic appearance, ranks, totals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deepseek_prof.errors import RunDamagedError

SEGMENTS_KEY = b"deepseek_prof.segments"
"""Footer key: the live files that a part holds, so that a conversion cut short is not repeated."""
STEPS_KNOWN_KEY = b"deepseek_prof.steps_known"
"""Footer key: ``0`` while the first step had not ended when the part was written."""
LAST_PART_KEY = b"deepseek_prof.last_part"
"""Footer key of a sums file: the number of the newest part whose spans it holds."""

_ENCODINGS = {"start_ns": "DELTA_BINARY_PACKED"}
_DICTIONARIES = ["tid", "step", "context_id", "shapes", "device", "stream", "bytes", "flops", "dur_ns", "self_ns"]
_ROW_GROUP_ROWS = 1 << 18
_BY_PROCESS = ("spans", "sums", "launches", "logs", "allocations")

_PLACE = re.compile(r"rank=(\d{1,9})/pid=(\d{1,10})", re.ASCII)
_LIVE_SEGMENT = re.compile(r"\d{1,10}-[0-9a-z]+/(?:t\d+-\d+\.seg|device-\d+\.bin)", re.ASCII)


@dataclass(frozen=True)
class Part:
    """One ``spans/…/part-NNNNN.parquet``."""

    pid: int
    name: str
    rows: int
    size_bytes: int
    steps_known: bool

    @property
    def number(self) -> int:
        """Counts up from 0 for each process."""
        return part_number(self.name)


def part_number(name: str) -> int:
    """12 for ``part-00012.parquet``; -1 for a name that is not of our making."""
    digits = name.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isascii() and digits.isdecimal() else -1


def write_parquet(path: Path, table: pa.Table, metadata: dict[bytes, bytes] | None = None) -> int:
    """Writes a whole file or none, by rename, and returns its size in bytes. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    is_spans = "start_ns" in table.schema.names
    try:
        with pq.ParquetWriter(
            temporary,
            table.schema.remove_metadata(),
            compression="zstd",
            compression_level=1,
            use_dictionary=_DICTIONARIES if is_spans else True,
            column_encoding=_ENCODINGS if is_spans else None,
            # Without Arrow's own schema in the footer a dictionary column is plain text to every reader. The schema's
            # metadata would go with it, so ours is added by itself.
            store_schema=False,
        ) as writer:
            writer.write_table(table.replace_schema_metadata(None), row_group_size=_ROW_GROUP_ROWS)
            if metadata is not None:
                writer.add_key_value_metadata(metadata)
        size = temporary.stat().st_size
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size


class PartFiles:
    """Knows every part of a run, in order of age, and where each process's files lie. Not thread-safe."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._ranks: dict[int, int] = {}
        self.parts: list[Part] = []
        self.damaged: list[str] = []
        """What is wrong with parts that could not be read; they stay as they are."""
        for kind in ("spans", "contexts", "sums", "launches", "allocations"):
            for leftover in (run_dir / kind).glob("rank=*/**/.*.tmp"):
                leftover.unlink(missing_ok=True)
        self._load()

    def _load(self) -> None:
        aged: list[tuple[int, str, Part]] = []
        for path in sorted((self._run_dir / "spans").glob("rank=*/pid=*/part-*.parquet")):
            place = _PLACE.fullmatch("/".join(path.parts[-3:-1]))
            if place is None:
                self.damaged.append(f"{path} was not written by deepseek-prof and was left as it is.")
                continue
            rank, pid = int(place[1]), int(place[2])
            self._ranks[pid] = rank
            try:
                metadata = read_footer(path)
            except RunDamagedError as error:
                self.damaged.append(str(error))
                continue
            stat = path.stat()
            known = (metadata.metadata or {}).get(STEPS_KNOWN_KEY, b"1") == b"1"
            part = Part(pid, path.name, metadata.num_rows, stat.st_size, known)
            aged.append((stat.st_mtime_ns, path.name, part))
        self.parts = [part for _, _, part in sorted(aged, key=lambda entry: entry[:2])]
        for part in list(self.parts):
            if part.number <= self.last_summed(part.pid):  # summed, but the deletion was cut short
                self.remove(part)

    @property
    def rows(self) -> int:
        """Spans in all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.size_bytes for part in self.parts)

    def rank(self, pid: int) -> int:
        """The process's rank; 0 until it is told."""
        return self._ranks.get(pid, 0)

    def directory(self, kind: str, pid: int) -> Path:
        """``<run>/<kind>/rank=R/pid=P`` for ``kind`` spans, sums, launches, logs or allocations."""
        return self._run_dir / kind / f"rank={self._ranks.get(pid, 0)}" / f"pid={pid}"

    def sums_path(self, pid: int) -> Path:
        """``<run>/sums/rank=R/pid=P/part-00000.parquet``; there is one a process."""
        return self.directory("sums", pid) / "part-00000.parquet"

    def contexts_path(self, pid: int) -> Path:
        """``<run>/contexts/rank=R/pid=P.parquet``."""
        return self._run_dir / "contexts" / f"rank={self._ranks.get(pid, 0)}" / f"pid={pid}.parquet"

    def path(self, part: Part) -> Path:
        """Where the part lies now."""
        return self.directory("spans", part.pid) / part.name

    def set_rank(self, pid: int, rank: int) -> None:
        """Moves what a process has so far to its rank, which it may learn after its first spans."""
        before = self._ranks.get(pid, 0)
        if before == rank:
            self._ranks[pid] = rank
            return
        sources = [*(self.directory(kind, pid) for kind in _BY_PROCESS), self.contexts_path(pid)]
        self._ranks[pid] = rank
        targets = [*(self.directory(kind, pid) for kind in _BY_PROCESS), self.contexts_path(pid)]
        for source, target in zip(sources, targets, strict=True):
            if not source.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            if not any(source.parent.iterdir()):
                source.parent.rmdir()

    def add(
        self, pid: int, table: pa.Table, segments: list[str], *, steps_known: bool, launches: pa.Table | None = None
    ) -> Part:
        """Writes the next part of a process, which holds the spans of these live files. Raises OSError.

        ``launches`` of these spans stand in a file of the same name beside them, for as long as the part does.
        """
        directory = self.directory("spans", pid)
        numbers = [part_number(path.name) for path in directory.glob("part-*.parquet")]
        name = f"part-{max(numbers, default=self.last_summed(pid)) + 1:05d}.parquet"
        metadata = {SEGMENTS_KEY: json.dumps(segments).encode(), STEPS_KNOWN_KEY: b"1" if steps_known else b"0"}
        launches_path = self.directory("launches", pid) / name
        if launches is not None:
            write_parquet(launches_path, launches)
        else:
            launches_path.unlink(missing_ok=True)  # of a part of this number that was never finished
        size = write_parquet(directory / name, table, metadata)
        part = Part(pid, name, table.num_rows, size, steps_known)
        self.parts.append(part)
        return part

    def last_summed(self, pid: int) -> int:
        """The number of the process's newest part that only its sums hold; -1 for none."""
        path = self.sums_path(pid)
        return int((read_footer(path).metadata or {}).get(LAST_PART_KEY, b"-1")) if path.exists() else -1

    def rewrite(self, part: Part, table: pa.Table) -> None:
        """Replaces a part by the same spans with their steps known. Raises OSError."""
        path = self.path(part)
        metadata = {**(read_footer(path).metadata or {}), STEPS_KNOWN_KEY: b"1"}
        size = write_parquet(path, table, metadata)
        self.parts[self.parts.index(part)] = replace(part, size_bytes=size, steps_known=True)

    def remove(self, part: Part) -> None:
        """Deletes a part."""
        self.path(part).unlink(missing_ok=True)
        (self.directory("launches", part.pid) / part.name).unlink(missing_ok=True)
        self.parts.remove(part)

    def converted_segments(self) -> Iterator[str]:
        """The live files that the newest part of each process holds: a crash may have left them undeleted."""
        newest = {part.pid: part for part in sorted(self.parts, key=lambda part: part.number)}
        for part in newest.values():
            text = (read_footer(self.path(part)).metadata or {}).get(SEGMENTS_KEY, b"[]")
            try:
                names = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise RunDamagedError(f"{self.path(part)} is damaged: its list of segments: {error}.") from error
            # The names are deleted: one from a foreign file must not lead out of live/.
            if isinstance(names, list):
                yield from (name for name in names if isinstance(name, str) and _LIVE_SEGMENT.fullmatch(name))


def read_footer(path: Path) -> pq.FileMetaData:
    """A Parquet file's footer. Raises RunDamagedError naming the file."""
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise RunDamagedError(f"{path} is damaged: {error}.") from error


def read_table(path: Path) -> pa.Table:
    """A Parquet file's rows, Hive columns left out. Raises RunDamagedError naming the file."""
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise RunDamagedError(f"{path} is damaged: {error}.") from error
