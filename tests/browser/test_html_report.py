"""The HTML report of a real recording, opened from its file in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deepseek_prof.analysis.summary import summarize
from deepseek_prof.exporters.html import HtmlExporter
from deepseek_prof.exporters.registry import Selection
from deepseek_prof.text import clean, duration, percent, size
from tests.support.hostile import write_hostile_run
from tests.support.recording import open_run, record, write_program

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

    from tests.support.browser import Browser

PROGRAM = """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            self.norm = nn.LayerNorm(width)

        def forward(self, x):
            return self.norm(x + self.inner(x))

    model = nn.Sequential(nn.Linear(16, 32), Block(32), Block(32), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(12):
        optimizer.zero_grad()
        model(torch.randn(8, 16)).square().mean().backward()
        optimizer.step()
"""


def write_page(run_dir: Path, path: Path) -> Path:
    with open_run(run_dir) as run, path.open("wb") as file:
        HtmlExporter().write(run, Selection(), file)
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    write_program(folder, PROGRAM)
    return record(["program.py"], folder)


@pytest.fixture(scope="module")
def page(run_dir: Path) -> Path:
    return write_page(run_dir, run_dir.parent / "report.html")


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.driver.get(page.as_uri())
    return browser


def find(browser: Browser, css: str) -> WebElement:
    from selenium.webdriver.common.by import By

    return browser.driver.find_element(By.CSS_SELECTOR, css)


def evaluated(browser: Browser, script: str, *arguments: Any) -> Any:
    """The value of an expression in the page."""
    return browser.driver.execute_script(f"return {script}", *arguments)


def texts(browser: Browser, css: str) -> Any:
    """Those of the elements that are displayed; read in one call, so that the page cannot change meanwhile."""
    return evaluated(
        browser,
        "[...document.querySelectorAll(arguments[0])].filter(each => each.checkVisibility())"
        ".map(each => each.innerText.trim())",
        css,
    )


def frames(browser: Browser, css: str = ".frame") -> Any:
    """The names of the frames that are drawn, as assistive technology hears them."""
    script = (
        "return [...document.querySelectorAll('#flame-graph ' + arguments[0])].map(e => e.getAttribute('aria-label'))"
    )
    found: list[str] = browser.driver.execute_script(script, css)
    return found


def style(browser: Browser, css: str, name: str) -> Any:
    return find(browser, css).value_of_css_property(name)


def key(browser: Browser, *keys: str) -> None:
    browser.driver.switch_to.active_element.send_keys(*keys)


def test_it_opens_without_an_error_and_without_a_request(browser: Browser, page: Path) -> None:
    browser.driver.get(page.as_uri())
    assert frames(browser)
    assert browser.console() == []
    assert browser.requests() == [page.as_uri()]


def test_it_obeys_the_system_and_its_button(browser: Browser, page: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.driver.get(page.as_uri())
        shades[scheme] = (style(browser, "body", "background-color"), style(browser, "body", "color"))
    assert shades["light"] != shades["dark"]
    button = find(browser, "#theme")
    seen = []
    for _ in range(3):
        button.click()
        seen.append((button.text, (style(browser, "body", "background-color"), style(browser, "body", "color"))))
    assert seen == [
        ("Theme: light", shades["light"]),
        ("Theme: dark", shades["dark"]),
        ("Theme: automatic", shades["dark"]),
    ]
    assert browser.console() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [360, 1600])
def test_nothing_is_wider_than_the_page(browser: Browser, page: Path, scheme: str, width_px: int) -> None:
    browser.prefer(scheme)
    browser.size(width_px, 900)
    browser.driver.get(page.as_uri())
    inner, outer = evaluated(browser, "[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert inner <= outer


def test_tables_sort_by_any_column(opened: Browser, run_dir: Path) -> None:
    with open_run(run_dir) as run:
        ops = summarize(run).ops
    find(opened, "#operators .more").click()
    names = "#operators tbody th > span"
    assert texts(opened, names) == [row.name for row in ops]
    headers = {header: f"#operators thead th:nth-child({place})" for place, header in ((1, "name"), (7, "calls"))}
    find(opened, f"{headers['calls']} button").click()
    calls = [float(each.replace(",", "")) for each in texts(opened, "#operators td:nth-child(7)")]
    assert calls == sorted(calls, reverse=True)
    assert len(set(calls)) > 2
    assert find(opened, headers["calls"]).get_attribute("aria-sort") == "descending"
    find(opened, f"{headers['name']} button").click()
    assert sorted(texts(opened, names)) == sorted(row.name for row in ops)
    assert texts(opened, names)[0] == min((row.name for row in ops), key=str.lower)
    assert find(opened, headers["name"]).get_attribute("aria-sort") == "ascending"


def test_tables_filter_and_say_how_much_is_left(opened: Browser) -> None:
    every = len(texts(opened, "#operators tbody tr"))
    find(opened, "#operators input").send_keys("layer_norm backward")
    assert texts(opened, "#operators tbody th > span") == ["aten::native_layer_norm_backward"]
    assert texts(opened, "#operators .found")[0].startswith("1 of ")
    find(opened, "#operators input").send_keys("nothing like it")
    assert texts(opened, "#operators tbody th > span") == []
    assert texts(opened, "#operators .found") == ["Nothing matches."]
    assert every > 1


def test_the_tree_of_layers_folds_and_keeps_what_is_around_a_match(opened: Browser) -> None:
    names = "#layers tbody th > span"
    assert texts(opened, names)[0] == "Sequential"
    whole = texts(opened, names)
    fold = "#layers tbody tr:first-child .fold"
    find(opened, fold).click()
    assert texts(opened, names) == ["Sequential"]
    assert find(opened, fold).get_attribute("aria-expanded") == "false"
    find(opened, fold).click()
    assert texts(opened, names) == whole
    find(opened, "#layers input").send_keys("2.inner.0")
    assert texts(opened, names) == ["Sequential", "2", "inner", "0"]


def test_the_flame_graph_zooms_by_click_and_back(opened: Browser) -> None:
    whole = frames(opened)
    assert any(name.startswith("backward (phase)") for name in whole)
    find(opened, "#flame-graph .frame[aria-label^='backward (phase)']").click()
    zoomed = frames(opened)
    assert not any(name.startswith("forward (phase)") for name in zoomed)
    assert "100 % of backward" in find(opened, "#flame-details").text
    wide = find(opened, "#flame-graph .frame[aria-label^='backward (phase)']").rect["width"]
    assert wide == pytest.approx(find(opened, "#flame-graph").rect["width"], abs=1)
    find(opened, "#flame-reset").click()
    assert frames(opened) == whole
    assert not find(opened, "#flame-reset").is_enabled()


def test_the_flame_graph_is_walked_and_zoomed_by_keys(opened: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    whole = frames(opened)
    evaluated(opened, "document.querySelector(arguments[0]).focus()", "#flame-graph [tabindex='0']")
    first = opened.driver.switch_to.active_element.get_attribute("aria-label")
    assert first == whole[0]
    key(opened, Keys.ARROW_RIGHT)
    second = opened.driver.switch_to.active_element.get_attribute("aria-label")
    assert second not in (None, first)
    key(opened, Keys.ARROW_DOWN)
    assert opened.driver.switch_to.active_element.get_attribute("aria-label") not in (first, second)
    key(opened, Keys.ARROW_UP)
    assert opened.driver.switch_to.active_element.get_attribute("aria-label") == second
    key(opened, Keys.ENTER)
    assert first not in frames(opened)
    assert frames(opened)[0].partition(",")[0] == str(second).partition(",")[0]
    key(opened, Keys.ESCAPE)
    assert frames(opened) == whole


def test_the_flame_graph_is_searched(opened: Browser) -> None:
    find(opened, "#flame-search").send_keys("addmm")
    matches = frames(opened, ".match")
    assert matches
    assert matches == [name for name in frames(opened) if "addmm" in name.partition("): ")[0].lower()]
    assert "% of all" in find(opened, "#flame-found").text
    find(opened, "#flame-search").send_keys("nowhere")
    assert frames(opened, ".match") == []
    assert find(opened, "#flame-found").text == "Nothing matches."


def test_another_flame_graph_is_chosen(opened: Browser) -> None:
    from selenium.webdriver.support.ui import Select

    Select(find(opened, "#flame-view")).select_by_visible_text("operators · host time")
    assert any(name.startswith("matmul (type)") for name in frames(opened))


def test_figures_are_written_as_in_the_terminal(opened: Browser) -> None:
    times = [0, 0.4, 1, 999.4, 999.9, 1_234, 9_996, 99_960, 1.5e6, 119.4e9, 120e9, 3_725e9]
    sizes = [0, 1, 1_023, 1_024, 1_500, 10 << 20, 525 << 20, 3 << 30]
    shares = [0, 0.0004, 0.0006, 0.012, 0.0994, 0.0996, 0.41, 1]
    written = evaluated(
        opened,
        "[FlameTree.duration, FlameTree.size, FlameTree.percent].map((write, place) => arguments[place].map(write))",
        times,
        sizes,
        shares,
    )
    assert written == [
        [duration(each) for each in times],
        [size(each) for each in sizes],
        [percent(each) for each in shares],
    ]


def test_hostile_names_stay_names(browser: Browser, tmp_path: Path) -> None:
    page = write_page(write_hostile_run(tmp_path / "run"), tmp_path / "report.html")
    browser.driver.get(page.as_uri())
    assert clean("</script><script>alert(1)</script>") in texts(browser, "#layers tbody th > span")
    assert any(name.startswith('"><img src=x onerror=alert(1)> (layer)') for name in frames(browser))
    find(browser, "#flame-graph .frame[aria-label*='img src=x']").click()
    assert '"><img src=x onerror=alert(1)>' in find(browser, "#flame-details").text
    find(browser, "#operators input").send_keys("</script>")
    assert texts(browser, "#operators .found")[0].startswith("1 of ")
    assert evaluated(browser, "document.querySelectorAll(arguments[0]).length", "img, main script") == 0
    assert browser.console() == []
    assert browser.requests() == [page.as_uri()]
