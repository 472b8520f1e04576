"""The file that an exported run goes to: it appears once it is whole, compressed where its name says so."""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

from deepseek_prof.errors import UsageError
from deepseek_prof.narration import Narrator

_STDOUT = "-"
_FIRST_NEWS_S = 1.0
_FIRST_NEWS_BYTES = 1 << 20
_NEWS_EVERY_S = 2.0
_GZIP_LEVEL = 3
"""Twice as fast as 6, and a tenth larger."""


def is_stdout(output: Path | None) -> bool:
    """Whether the value of ``--output`` means standard output.

    Raises:
        UsageError: it does, and that is a terminal.
    """
    if output is None or str(output) != _STDOUT:
        return False
    if sys.stdout.isatty():
        raise UsageError("Such a file is not for a terminal. Name one with -o FILE, or write to a pipe.")
    return True


@contextmanager
def exported_file(target: Path | None, narrator: Narrator) -> Iterator[BinaryIO]:
    """A file that takes its place once it is whole, compressed where its name says so; standard output for None.

    Raises:
        OutputError: the file cannot be written.
    """
    from deepseek_prof.cli.sql_output import destination

    with destination(target) as to:
        counted = _Counted(to.binary, narrator)
        if target is None or target.suffix != ".gz":
            yield cast(BinaryIO, counted)
            return
        # Neither time nor name inside: the same run makes the same file.
        with gzip.GzipFile("", "wb", _GZIP_LEVEL, cast(Any, counted), mtime=0) as packed:
            yield cast(BinaryIO, packed)


class _Counted(BufferedIOBase):
    """Passes bytes on to ``file``, which stays open, and says on stderr how far it is, from the second second on."""

    def __init__(self, file: BinaryIO, narrator: Narrator) -> None:
        self._file = file
        self._narrator = narrator
        self._written_bytes = 0
        self._next_news_s = time.monotonic() + _FIRST_NEWS_S

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        self._file.write(data)
        self._written_bytes += len(data)
        now_s = time.monotonic()
        if now_s >= self._next_news_s and self._written_bytes >= _FIRST_NEWS_BYTES:
            from deepseek_prof.text import size

            self._next_news_s = now_s + _NEWS_EVERY_S
            self._narrator.say(f"{size(self._written_bytes)} written")
        return len(data)

    def flush(self) -> None:
        """Pass on what is buffered."""
        if not self.closed:
            self._file.flush()
