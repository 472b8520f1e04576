"""The page of the HTML report, read by another parser than the one that wrote it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from deepseek_prof.exporters import registry
from deepseek_prof.exporters.html import HtmlExporter
from deepseek_prof.query import compile_query
from tests.support.recording import open_run

VOID = {"meta", "link", "input", "br"}


@dataclass
class Element:
    """An element of a page; ``text`` is its own and its children's."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str, css_class: str | None = None) -> list[Element]:
        """The elements inside with that tag (and class), in the order of the page."""
        found = []
        for child in self.children:
            if child.tag == tag and (css_class is None or css_class in child.attributes.get("class", "").split()):
                found.append(child)
            found += child.all(tag, css_class)
        return found

    def by_id(self, name: str) -> Element:
        """The one element inside with that id."""
        (found,) = [each for each in self.everything() if each.attributes.get("id") == name]
        return found

    def everything(self) -> list[Element]:
        """All elements inside."""
        return [each for child in self.children for each in (child, *child.everything())]


class _Parser(HTMLParser):
    """Independent of the template: the standard library's reading of the page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes nothing at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def written(run_dir: Path, query: str = "") -> str:
    """The page as text."""
    file = io.BytesIO()
    with open_run(run_dir) as run:
        selection = registry.Selection(compile_query(query) if query else None, query)
        HtmlExporter().write(run, selection, file)
    return file.getvalue().decode()


def parsed(page: str) -> Element:
    """The page's root, around ``html``."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert [each.tag for each in parser.open] == [""], "an element is not closed"
    return parser.open[0]


def rows_of(page: Element, table: str) -> dict[str, list[float]]:
    """Names and figures of a table."""
    body = page.by_id(table).all("tbody")[0]
    return {
        row.all("th")[0].attributes["title"]: [float(cell.attributes["data-v"]) for cell in row.all("td")]
        for row in body.all("tr")
    }


def flame_of(page: Element) -> dict[str, Any]:
    """The data that the flame graph is drawn from."""
    data: dict[str, Any] = json.loads(page.by_id("flame-data").text)
    return data
