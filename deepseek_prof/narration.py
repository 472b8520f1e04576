"""Narration for people, on stderr, so that standard output stays the program's or the data's."""

from __future__ import annotations

import sys

PREFIX = "deepseek-prof: "


def printable(text: str) -> str:
    """A message with control characters, but for line ends, made visible: names in it come from programs."""
    return "".join(char if char == "\n" or char.isprintable() else repr(char)[1:-1] for char in text)


class Narrator:
    """Says what we do, on stderr; a quiet one keeps only warnings."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._warned: set[str] = set()

    def say(self, text: str) -> None:
        """One line of news; nothing when quiet."""
        if not self.quiet:
            self.write(text)

    def warn(self, text: str) -> None:
        """One line on what does not work, each text once, quiet or not."""
        if text not in self._warned:
            self._warned.add(text)
            self.write(f"warning: {text}")

    def write(self, text: str) -> None:
        """One line to standard error."""
        try:
            print(f"{PREFIX}{printable(text)}", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            # A closed terminal must not stop the recording, and there is no other place to say so.
            return


class HeldNarrator(Narrator):
    """Keeps its lines while something else has the screen; any thread may use it."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__(quiet=quiet)
        self.holding = False
        self.held: list[str] = []

    def write(self, text: str) -> None:
        """One line, now or after :meth:`release`."""
        if self.holding:
            self.held.append(text)
        else:
            super().write(text)

    def release(self) -> None:
        """Write what was held, and hold no more."""
        self.holding = False
        while self.held:
            super().write(self.held.pop(0))
