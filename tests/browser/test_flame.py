"""``flame`` of a recorded program, as its user sees it: drawn, named, searchable, and without a network."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deepseek_prof.exporters.viewer import has_app
from tests.support.browser import Browser
from tests.support.drawn import module, op, write_drawn_run
from tests.support.recording import cli_command, environment, record, write_program

PROGRAM = """
    import torch
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64))
            self.head = torch.nn.Linear(64, 4)
        def forward(self, x):
            return self.head(self.encoder(x))
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters())
    for _ in range(6):
        optimizer.zero_grad()
        net(torch.randn(32, 64)).sum().backward()
        optimizer.step()
"""
# The viewer writes the names of boxes onto a canvas above the boxes, which WebGL draws.
LABELS_DRAWN = """
    return [...document.querySelectorAll("canvas")].some(canvas => {
        const context = canvas.getContext("2d");
        if (!context || !canvas.width || !canvas.height) return false;
        return context.getImageData(0, 0, canvas.width, canvas.height).data.some(value => value > 0);
    });
"""
# The table of frames has its head in a table beside it; that of profiles, which is hidden, has a body.
TABLE = """
    return [...document.querySelectorAll("table")].filter(table => !table.tHead && !table.tBodies.length)
        .flatMap(table => [...table.rows]).map(row => row.innerText.trim());
"""
ROWS_WITH = f"const rows = (() => {{ {TABLE} }})(); return rows.some(row => row.includes(arguments[0])) && rows;"
ROWS_ALL_WITH = ROWS_WITH.replace("rows.some", "rows.length > 0 && rows.every")


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address that a real ``deepseek-prof flame`` prints; it ends with Ctrl-C."""
    if not has_app() and not os.environ.get("CI"):
        pytest.skip("this installation was built without the viewer")
    process = subprocess.Popen(
        cli_command("flame", *words, "--no-open"), env=environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        heard = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\S+/", heard)):
            line = process.stderr.readline()
            assert line, heard
            heard += line
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was recorded just now."""
    folder = tmp_path_factory.mktemp("flame")
    return record([str(write_program(folder, PROGRAM))], folder)


@pytest.fixture(scope="module")
def address(run_dir: Path) -> Iterator[str]:
    with served(str(run_dir)) as found:
        yield found


def open_page(browser: Browser, address: str, name: str) -> None:
    """Open the address and wait until the profile ``name`` is drawn."""
    browser.driver.get(address)
    browser.wait("return document.body.innerText.includes(arguments[0])", name)
    browser.wait(LABELS_DRAWN)


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    """The browser with the flame graphs drawn."""
    open_page(browser, address, "layers · host time")
    return browser


def profile_of(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}profile.speedscope.json", timeout=30) as answer:
        found = json.load(answer)
    assert isinstance(found, dict)
    return found


def heaviest(profile: dict[str, Any], index: int) -> str:
    """The name of the frame with the most self time in a profile of a speedscope file."""
    own: Counter[int] = Counter()
    for stack, weight in zip(profile["profiles"][index]["samples"], profile["profiles"][index]["weights"], strict=True):
        own[stack[-1]] += weight
    name = profile["shared"]["frames"][own.most_common(1)[0][0]]["name"]
    assert isinstance(name, str)
    return name


def sort_by_total(page: Browser) -> None:
    """The table holds only the rows that are in sight: what holds the most comes there."""
    page.driver.execute_script(
        "[...document.querySelectorAll('thead th')].find(head => head.innerText.trim() === 'Total').click()"
    )


def test_it_is_drawn_and_frames_can_be_read_and_searched(page: Browser, address: str, tmp_path: Path) -> None:
    assert page.driver.title.startswith("run")
    assert page.driver.save_screenshot(str(tmp_path / "layers.png"))
    page.press("3")
    assert heaviest(profile_of(address), 0) in page.wait(ROWS_WITH, "aten::")[0]
    sort_by_total(page)
    text = "\n".join(page.wait(ROWS_WITH, "forward"))
    assert all(name in text for name in ("Net", "encoder", "backward", "optimizer"))
    page.press("\ue009", "f")  # Ctrl-F
    page.wait("return document.activeElement.tagName === 'INPUT'")
    for letter in "addmmb":
        page.press(letter)
    found = page.wait(ROWS_ALL_WITH, "AddmmB")
    assert any("AddmmBackward0" in row for row in found)
    page.driver.save_screenshot(str(tmp_path / "search.png"))
    page.assert_quiet()


def test_the_next_profile_is_one_key_away(page: Browser, tmp_path: Path) -> None:
    page.press("n")
    page.wait("return document.body.innerText.includes(arguments[0])", "operators · host time")
    page.press("2")
    page.wait(LABELS_DRAWN)
    page.driver.save_screenshot(str(tmp_path / "operators.png"))
    page.press("3")
    page.wait(ROWS_WITH, "aten::")
    sort_by_total(page)
    page.wait(ROWS_WITH, "matmul")
    page.assert_quiet()


def test_every_request_went_to_the_address(page: Browser, address: str) -> None:
    requests = page.requests()
    assert any(url.endswith("/profile.speedscope.json") for url in requests)
    assert all(url.startswith(address) for url in requests)
    page.driver.execute_async_script("fetch('http://example.com/').catch(() => {}).finally(arguments[0])")
    assert any("example.com" in message for message in page.console()), "a request elsewhere would be noticed"


def test_a_timeline_is_drawn(browser: Browser, run_dir: Path, tmp_path: Path) -> None:
    with served(str(run_dir), "--view", "timeline", "step:3") as address:
        open_page(browser, address, "thread ")
        browser.driver.save_screenshot(str(tmp_path / "timeline.png"))
        browser.press("3")
        assert any("Optimizer.step" in row for row in browser.wait(ROWS_WITH, "aten::"))
        browser.assert_quiet()


def test_names_are_text_in_the_page(browser: Browser, tmp_path: Path) -> None:
    hostile = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a&amp;b", "名 é", "x" * 3_000]
    drawn = [module(f"layer {name}", 20, op(name, 9 + index)) for index, name in enumerate(hostile)]
    run_dir = write_drawn_run(tmp_path / "hostile", lambda rank, step: drawn, steps=2)
    with served(str(run_dir)) as address:
        open_page(browser, address, "layers · host time")
        browser.press("3")
        rows = browser.wait(ROWS_WITH, "onerror")
        assert {row.splitlines()[-1].strip() for row in rows} >= {*hostile, *(f"layer {name}" for name in hostile)}
        assert browser.driver.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
        browser.assert_quiet()
