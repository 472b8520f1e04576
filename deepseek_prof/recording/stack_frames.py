"""Frames of Python stacks as text, with our own left out and paths as short as they say something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import deepseek_prof
from deepseek_prof.trace.stack_text import join_stack

_LIBRARY = re.compile(r".*/(?:site-packages|dist-packages|lib/python3\.\d+t?)/")
_THREAD_FRAME = re.compile(r"thread \((?:0x)?[0-9A-Fa-f]+\)")
_NATIVE_RECORDER = re.compile(r"(?:.*/)?recorder-[^/]+-[0-9a-f]{16}\.so")
"""The file of our native library, as collectors/native/build.py names it."""

Frame = tuple[str, str, int]
"""Function, file and line; 0 for no line."""


class FrameTexts:
    """Makes ``function (file:line)`` of frames, each once."""

    def __init__(self, cwd: str) -> None:
        self._cwd = cwd.rstrip("/") + "/"
        self._texts: dict[Frame, str | None] = {}
        package = Path(deepseek_prof.__file__).parent
        # Folders of the package that lie elsewhere in a development tree are linked into it.
        folders = {package, *(path.resolve() for path in package.iterdir() if path.is_dir())}
        self._ours = tuple(f"{folder}/" for folder in folders)

    def stack(self, frames: Iterable[Frame]) -> str:
        """The stack as one text, from frames root first; empty where none is left."""
        return join_stack(text for text in map(self._text, frames) if text is not None)

    def is_ours(self, frame: Frame) -> bool:
        """Whether the frame is one of deepseek-prof's."""
        return frame[1].startswith(self._ours) or _NATIVE_RECORDER.fullmatch(frame[1]) is not None

    def _text(self, frame: Frame) -> str | None:
        if frame not in self._texts:
            self._texts[frame] = None if self._is_left_out(frame) else self._made(frame)
        return self._texts[frame]

    def _is_left_out(self, frame: Frame) -> bool:
        return self.is_ours(frame) or (not frame[1] and _THREAD_FRAME.match(frame[0]) is not None)

    def _made(self, frame: Frame) -> str:
        function, path, line = frame
        short = path.removeprefix(self._cwd) if path.startswith(self._cwd) else path
        short = _LIBRARY.sub("", short)
        return f"{function} ({short}:{line})" if line else f"{function} ({short})"
