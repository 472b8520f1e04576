"""Process, thread and rank numbers of a trace: what the file says, or else numbers that clash with none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

_INVENTED = 1 << 40
"""Above every process and thread number of an operating system."""
_LARGEST_PID = 10**17
_RANK_IN_NAME = re.compile(r"(?:^|[^a-z])(?:rank|trainer)[ ._=-]?(\d{1,6})(?!\d)", re.IGNORECASE)


def process_number(pid: Any) -> int:
    """A process id at least 0: the trace's own where it is one."""
    number = _whole(pid)
    return number if number is not None and 0 <= number < _LARGEST_PID else _invented(pid)


def thread_number(tid: Any) -> int:
    """A thread id: the trace's own where it is a number (older traces have negative ones)."""
    number = _whole(tid)
    return number if number is not None and abs(number) < _LARGEST_PID else _invented(tid)


def rank_of(metadata: Mapping[str, Any], path: Path) -> int | None:
    """The rank that a trace's ``distributedInfo``, or else its file name, tells."""
    info = metadata.get("distributedInfo")
    rank = _whole(info.get("rank")) if isinstance(info, dict) else None
    if rank is None or not 0 <= rank < 10**9:
        match = _RANK_IN_NAME.search(path.name)
        rank = int(match[1]) if match else None
    return rank


def _whole(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return None


def _invented(name: Any) -> int:
    return _INVENTED + crc32(str(name).encode("utf-8", errors="replace"))
