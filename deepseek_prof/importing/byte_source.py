"""The bytes of a trace file, plain or gzip, read ahead on a thread of their own; a file that ends early says so."""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from deepseek_prof.errors import TraceFileError

CHUNK_BYTES = 4 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # the largest window, and a gzip header
_AHEAD = 2


class ByteSource:
    """The decompressed content of a file, once, in chunks of at most :data:`CHUNK_BYTES`.

    Args:
        path: the file; whether it is gzip is seen from its first bytes.

    Raises:
        TraceFileError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
            self.size_bytes = path.stat().st_size
        except OSError as error:
            raise TraceFileError(f"{path} cannot be read: {error.strerror}.") from error
        self.read_bytes = 0
        """Of the file as it lies on the disk."""
        self.cut_off: str | None = None
        """Why the content ends before its end, once all has been read; None where it does not."""

    def __iter__(self) -> Iterator[bytes]:
        """All chunks; none is empty. Decompression runs beside the caller, at most two chunks ahead."""
        ready: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        stopped = threading.Event()

        def offer(item: bytes | BaseException | None) -> None:
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.2)
                except queue.Full:
                    continue
                return

        def produce() -> None:
            try:
                for chunk in self._chunks(self._file):
                    offer(chunk)
                    if stopped.is_set():
                        return
                offer(None)
            except BaseException as error:  # noqa: BLE001  # raised again where the chunks are taken
                offer(error)
            finally:
                self._file.close()

        # Never waited for: it may hang in a read of a pipe or of a network disk when the user has had enough.
        threading.Thread(target=produce, name="read-trace", daemon=True).start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stopped.set()

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        try:
            first = file.read(CHUNK_BYTES)
            self.read_bytes = len(first)
            if first.startswith(_GZIP_MAGIC):
                yield from self._decompressed(file, first)
                return
            while first:
                yield first
                first = file.read(CHUNK_BYTES)
                self.read_bytes += len(first)
        except OSError as error:
            raise TraceFileError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _decompressed(self, file: BinaryIO, data: bytes) -> Iterator[bytes]:
        inflate = zlib.decompressobj(_GZIP_WINDOW)
        while True:
            try:
                chunk = inflate.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                self.cut_off = f"its gzip data is damaged ({error})"
                return
            if chunk:
                yield chunk
            data = inflate.unconsumed_tail
            if inflate.eof:
                # Several members in a row are one file; anything else behind the last one is padding.
                data = inflate.unused_data.lstrip(b"\0") or file.read(CHUNK_BYTES)
                if not data.startswith(_GZIP_MAGIC):
                    return
                inflate = zlib.decompressobj(_GZIP_WINDOW)
            elif not data:
                data = file.read(CHUNK_BYTES)
                self.read_bytes += len(data)
                if not data:
                    rest = inflate.flush()
                    if rest:
                        yield rest
                    self.cut_off = "its gzip data ends early"
                    return
