"""Writes an imported run beside its final place and moves it there when it is whole: half a run is never seen."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from deepseek_prof.errors import OutputError
from deepseek_prof.model import SCHEMA_VERSION
from deepseek_prof.recording.context_table import merge_contexts
from deepseek_prof.recording.part_files import read_table, write_parquet
from deepseek_prof.recording.run_directory import own_version
from deepseek_prof.trace.run_file import write_run_file

_PART_ROWS = 1 << 19


class RunWriter:
    """A context manager: :meth:`finish` makes the run appear, leaving the block without it removes what was written.

    Args:
        run_dir: where the run is to be; an empty folder may be there.

    Raises:
        OutputError: something else is there, or it cannot be written.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.resolve()
        self._work = self._run_dir.with_name(f".{self._run_dir.name}.importing-{os.getpid()}")
        self._pending: dict[tuple[int, int], list[pa.Table]] = {}
        self._parts: dict[tuple[int, int], int] = {}
        self._steps: dict[tuple[int, int], int] = {}
        self._launches: dict[tuple[int, int], int] = {}
        self.spans = 0
        self.size_bytes = 0

    def __enter__(self) -> RunWriter:
        if self._run_dir.exists() and (not self._run_dir.is_dir() or any(self._run_dir.iterdir())):
            raise OutputError(f"{self._run_dir} exists already. Choose another --output, or remove it.")
        try:
            self._work.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise self._not_writable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        if isinstance(error, OSError):
            raise self._not_writable(error) from error

    def add_spans(self, rank: int, pid: int, table: pa.Table) -> None:
        """Adds spans of a process; they are written once they make a part. Raises OSError."""
        pending = self._pending.setdefault((rank, pid), [])
        pending.append(table)
        if sum(each.num_rows for each in pending) >= _PART_ROWS:
            self._flush(rank, pid)

    def add_launches(self, rank: int, pid: int, table: pa.Table) -> None:
        """Writes launches of a process. Raises OSError."""
        number = self._launches.get((rank, pid), 0)
        self._launches[rank, pid] = number + 1
        folder = self._work / "launches" / f"rank={rank}" / f"pid={pid}"
        write_parquet(folder / f"part-{number:05d}.parquet", table)

    def close_process(self, rank: int, pid: int, contexts: pa.Table, steps: pa.Table) -> None:
        """Writes what is left of a process, with its contexts and steps. Raises OSError."""
        self._flush(rank, pid)
        path = self._work / "contexts" / f"rank={rank}" / f"pid={pid}.parquet"
        if path.exists():  # an earlier file holds another window of the same process
            contexts = merge_contexts(contexts, read_table(path))
        write_parquet(path, contexts)
        if steps.num_rows:
            number = self._steps.get((rank, pid), 0)
            self._steps[rank, pid] = number + 1
            write_parquet(self._spans_of(rank, pid) / f"steps-{number:05d}.parquet", steps)

    def finish(self, content: Mapping[str, Any]) -> None:
        """Writes ``run.json`` and moves the run to its place. Raises OSError."""
        write_run_file(
            self._work,
            {
                "schema_version": SCHEMA_VERSION,
                "id": self._run_dir.name,
                "name": self._run_dir.name,
                "cwd": str(Path.cwd()),
                "status": "finished",
                "exit_code": None,
                "signal": None,
                "host": {"hostname": None, "platform": None, "cpu_count": None, "memory_bytes": None},
                "settings": {"record": "ops", "overhead_budget": None},
                "packages": {"deepseek_prof": own_version(), "python": platform.python_version()},
                "spans": {"count": self.spans, "size_bytes": self.size_bytes},
                "dropped": [],
                **content,
            },
        )
        self._work.replace(self._run_dir)

    def _flush(self, rank: int, pid: int) -> None:
        tables = self._pending.pop((rank, pid), [])
        if tables:
            number = self._parts.get((rank, pid), 0)
            self._parts[rank, pid] = number + 1
            table = pa.concat_tables(tables)
            self.size_bytes += write_parquet(self._spans_of(rank, pid) / f"part-{number:05d}.parquet", table)
            self.spans += table.num_rows

    def _spans_of(self, rank: int, pid: int) -> Path:
        return self._work / "spans" / f"rank={rank}" / f"pid={pid}"

    def _not_writable(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write the run {self._run_dir}: {error.strerror or error}. "
            "Choose a writable folder with room for it with --output DIR."
        )
