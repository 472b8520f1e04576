"""A browser that opens nothing: it writes down the addresses that it was given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class OpenedUrls:
    """What the browser was asked to open; ``file`` holds one address a line."""

    file: Path

    def read(self) -> list[str]:
        """The addresses so far."""
        return self.file.read_text().split() if self.file.exists() else []


@pytest.fixture
def opened_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedUrls:
    """A program in ``BROWSER``, as ``webbrowser`` of the standard library starts it, in an environment without SSH."""
    found = OpenedUrls(tmp_path / "urls.txt")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> "{found.file}"\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    for name in ("SSH_CONNECTION", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    return found
