"""The browser of a test. Without one the test is skipped with the reason, but where ``CI`` is set it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, chromium, missing

__all__ = ["Browser", "browser"]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A fresh Chromium with an empty page."""
    reason = missing()
    if reason is not None and not os.environ.get("CI"):
        pytest.skip(reason)
    assert reason is None, reason
    profile = tmp_path / "chromium"
    profile.mkdir()
    with chromium(profile) as found:
        yield found
