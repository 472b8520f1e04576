"""Reads ``device-NNNNN.bin``, the work on devices of one window, as arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepseek_prof.errors import RunDamagedError
from deepseek_prof.recording.device_format import DEVICE_COLUMNS, DEVICE_HEADER, DEVICE_MAGIC
from deepseek_prof.recording.segments import Int64s

LAG_BYTES = 64 << 20
"""Windows of a running process wait until so much has come after them: the spans that launched their work are converted
by then."""
_BATCH_SHARE = 4
"""Then as much as one part in so many of that is converted at once: each time costs a part and a look at all others."""


@dataclass(frozen=True)
class DeviceFile:
    """One window. ``columns`` are of shape (rows,), by the names of ``DEVICE_COLUMNS``; times are CLOCK_MONOTONIC."""

    labels: tuple[tuple[str, str], ...]
    """Category and name of each number in the column ``label``."""
    threads: dict[int, tuple[int, ...]]
    """The low 32 bits of ``pthread_self()`` -> the ids in the operating system of the threads that have had it, the
    latest first."""
    columns: dict[str, Int64s]


def due_device_files(directory: Path, *, final: bool) -> list[Path]:
    """The windows in a process's folder that are to be converted now, in order; all where it is ``final``."""
    files = sorted(directory.glob("device-*.bin"))
    if final:
        return files
    sizes = [path.stat().st_size for path in files]
    behind = 0
    for index in range(len(files) - 1, -1, -1):
        behind += sizes[index]
        if behind > LAG_BYTES:
            return files[: index + 1] if sum(sizes[: index + 1]) >= LAG_BYTES // _BATCH_SHARE else []
    return []


def read_device_file(path: Path) -> DeviceFile:
    """The file's activities.

    Raises:
        RunDamagedError: it is not what its header says.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if len(data) < DEVICE_HEADER.size or not data.startswith(DEVICE_MAGIC):
        raise RunDamagedError(f"{path} is damaged: foreign header.")
    _, description_bytes, padding = DEVICE_HEADER.unpack_from(data)
    begin = DEVICE_HEADER.size + description_bytes + padding
    try:
        description = json.loads(data[DEVICE_HEADER.size : DEVICE_HEADER.size + description_bytes])
        rows = int(description["rows"])
        labels = tuple((str(category), str(name)) for category, name in description["labels"])
        threads = {int(handle): tuple(map(int, tids)) for handle, tids in description["threads"].items() if tids}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunDamagedError(f"{path} is damaged: its description: {error}.") from error
    if rows < 0 or len(data) != begin + rows * 8 * len(DEVICE_COLUMNS):
        raise RunDamagedError(f"{path} is damaged: it holds {len(data) - begin} bytes for {rows} rows.")
    values = np.frombuffer(data, dtype="<i8", offset=begin).reshape(len(DEVICE_COLUMNS), rows)
    columns = dict(zip(DEVICE_COLUMNS, values.astype(np.int64), strict=True))
    label = columns["label"]
    if rows and (label.min() < 0 or label.max() >= len(labels)):
        raise RunDamagedError(f"{path} is damaged: it names labels that it does not hold.")
    return DeviceFile(labels, threads, columns)
