"""docs/tui.md and the bindings of the TUI name the same keys."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from textual.dom import DOMNode

import deepseek_prof.tui
from deepseek_prof.tui.app import ProfilerApp
from deepseek_prof.tui.outward import OutwardApp
from deepseek_prof.tui.screens.help import Keys, heading_of, keys_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "tui.md"


def documented_sections() -> list[Keys]:
    """The keys of every class of the TUI that declares some, as the help shows them."""
    everywhere = Keys("Everywhere", keys_of(ProfilerApp, "").rows + keys_of(OutwardApp, "").rows)
    found: dict[str, Keys] = {}
    for module in walk_packages(deepseek_prof.tui.__path__, "deepseek_prof.tui."):
        for _, kind in inspect.getmembers(import_module(module.name), inspect.isclass):
            if kind.__module__ != module.name or not issubclass(kind, DOMNode) or issubclass(kind, OutwardApp):
                continue
            keys = keys_of(kind, heading_of(kind))
            if keys.rows:
                found[keys.title] = keys
    return [everywhere, *(found[title] for title in sorted(found))]


def test_the_tables_are_the_bindings() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    written = {
        title: tuple((keys, meaning) for keys, meaning in re.findall(r"^\| `(.+?)` \| (.*?) \|$", body, re.MULTILINE))
        for title, body in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    }
    expected = {keys.title: keys.rows for keys in documented_sections()}
    assert written == expected
