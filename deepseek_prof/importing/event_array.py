"""Cuts the event array of a trace file into batches for the parser, and keeps what stands before and behind the array.

A batch ends where ``}`` is followed by ``,`` and ``{``. Inside an event or a string that may occur too: then what was
cut off is not valid JSON, the parser refuses it, and the next guess is tried; a batch that is accepted is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from deepseek_prof.errors import TraceFileError
from deepseek_prof.importing.byte_source import ByteSource
from deepseek_prof.importing.json_scan import array_elements, find_value

EVENTS_KEY = b'"traceEvents"'
_BETWEEN = re.compile(rb"\}\s*,\s*(?=\{)")
_SEPARATOR = b" \t\r\n,"
_WINDOW_BYTES = 1 << 16
_GUESSES = 3
_MAX_HEAD_BYTES = 64 << 20
_MAX_EVENT_BYTES = 64 << 20
_MAX_TAIL_BYTES = 16 << 20

Parsed = TypeVar("Parsed")


class EventArray:
    """The events of one trace file.

    Args:
        source: the file's bytes.

    ``metadata`` holds the file's other top-level keys, those behind the events from the end of :meth:`batches` on; then
    ``cut_off`` says what the file lacks at its end (None: nothing).

    Raises:
        TraceFileError: the file is no trace, or cannot be read.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.metadata: dict[str, Any] = {}
        self.cut_off: str | None = None
        self._chunks = iter(source)
        self._opened = self._open(self._chunks)

    def batches(
        self, parse: Callable[[bytes], Parsed | None], parse_elements: Callable[[list[bytes]], Parsed]
    ) -> Iterator[Parsed]:
        """What ``parse`` makes of each batch.

        Args:
            parse: takes the text of a JSON array of events; None if it is not valid.
            parse_elements: takes the texts of single events, which need not be valid.

        Raises:
            TraceFileError: the file is no trace, or cannot be read.
        """
        chunks = self._chunks
        data, in_object = self._opened
        tail: bytes | None = None
        wanted = 0
        for chunk in chunks:
            if tail is not None:
                tail += chunk[: max(0, _MAX_TAIL_BYTES - len(tail))]
                continue
            data += chunk
            if len(data) < wanted:
                continue
            parsed, rest, ended = self._cut(data, parse, parse_elements)
            if parsed is not None:
                yield parsed
            data = data[rest:].lstrip(_SEPARATOR)
            wanted = 0
            if ended:
                tail = data
            elif parsed is None:
                wanted = 2 * len(data)  # an event longer than a chunk: looked at again when there is as much more
                if len(data) > _MAX_EVENT_BYTES:
                    raise TraceFileError(
                        f"{self._source.path} holds an event of more than {_MAX_EVENT_BYTES >> 20} MiB: "
                        "this is no trace that can be imported."
                    )
        if tail is None:
            elements = array_elements(data)
            if elements.slices:
                yield parse_elements([data[start:end] for start, end in elements.slices])
            if elements.end is None:
                partial = data[elements.rest :].strip(_SEPARATOR)
                if partial or in_object or self._source.cut_off:
                    self.cut_off = self._source.cut_off or "it ends in the middle of its events"
                return
            tail = data[elements.end + 1 :]
        self._read_tail(tail, in_object=in_object)

    def _open(self, chunks: Iterator[bytes]) -> tuple[bytes, bool]:
        """The first bytes of the events, and whether they are in an object rather than the whole file."""
        data = b""
        wanted = 0
        path = self._source.path
        for chunk in chunks:
            data = (data + chunk).removeprefix(b"\xef\xbb\xbf").lstrip()
            if data[:1] == b"[":
                return data[1:], False
            if data and data[:1] != b"{":
                raise TraceFileError(f"{path} is no trace: it does not begin as JSON does.")
            if len(data) < wanted:
                continue
            wanted = 2 * len(data)
            found = find_value(data, EVENTS_KEY)
            if found is not None:
                key, value = found
                if data[value : value + 1] != b"[":
                    raise TraceFileError(f"{path} is no trace: its traceEvents are not an array.")
                self._add_metadata(data[:key] + b'"":null}')
                return data[value + 1 :], True
            if len(data) > _MAX_HEAD_BYTES:
                break
        found = find_value(data, EVENTS_KEY)
        if found is not None and data[found[1] : found[1] + 1] == b"[":
            self._add_metadata(data[: found[0]] + b'"":null}')
            return data[found[1] + 1 :], True
        if not data:
            raise TraceFileError(f"{path} is empty.")
        raise TraceFileError(
            f"{path} is no trace: it has no traceEvents. Give a file of export_chrome_trace() or a trace event array."
        )

    def _cut(
        self,
        data: bytes,
        parse: Callable[[bytes], Parsed | None],
        parse_elements: Callable[[list[bytes]], Parsed],
    ) -> tuple[Parsed | None, int, bool]:
        """What the whole events in ``data`` are, where the rest begins, and whether the array ended."""
        window = max(0, len(data) - _WINDOW_BYTES)
        ends = [match.start() + 1 for match in _BETWEEN.finditer(data, window)]
        for end in ends[: -_GUESSES - 1 : -1]:
            parsed = parse(b"[" + data[:end] + b"]")
            if parsed is not None:
                return parsed, end, False
        elements = array_elements(data)
        ended = elements.end is not None
        rest = elements.rest if elements.end is None else elements.end + 1
        if not elements.slices:
            return None, rest if ended else 0, ended
        return parse_elements([data[start:end] for start, end in elements.slices]), rest, ended

    def _read_tail(self, tail: bytes, *, in_object: bool) -> None:
        tail = tail.strip(_SEPARATOR)
        self.cut_off = self._source.cut_off
        whole = self._add_metadata(b"{" + tail) if in_object else not tail
        if not whole and self.cut_off is None:
            self.cut_off = "what follows its events is not whole"

    def _add_metadata(self, text: bytes) -> bool:
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if isinstance(found, dict):
            self.metadata |= {key: value for key, value in found.items() if key}
        return True
