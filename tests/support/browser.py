"""A real browser for tests of pages: headless Chromium that reaches nothing but this machine, and what it logged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM, DRIVER = "chromium", "chromedriver"
"""Debian's packages ``chromium`` and ``chromium-driver``."""
WAIT_S = 60
_SLOW_DRAWING = "GL Driver Message (OpenGL, Performance"
"""What Chromium says where the processor draws."""
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1280,800",
)
_INSIDE = frozenset({"about", "blob", "chrome", "chrome-error", "data", "devtools"})
"""Schemes of addresses that lead out of no page."""


def missing() -> str | None:
    """Why there is no browser; None where there is one."""
    absent = [name for name in (CHROMIUM, DRIVER) if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} here (Debian: apt install chromium chromium-driver)" if absent else None


@dataclass
class Browser:
    """A page in Chromium. ``driver`` is Selenium's."""

    driver: Chrome
    _requests: list[str] = field(default_factory=list)
    _messages: list[str] = field(default_factory=list)

    def wait(self, script: str, *arguments: Any) -> Any:
        """What the page's ``script`` returns, as soon as that is true. Fails the test when it does not become so."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, WAIT_S).until(
            lambda driver: driver.execute_script(script, *arguments), script
        )

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is; with several, all at once."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.driver)
        for key in keys:
            chain.key_down(key)
        for key in reversed(keys):
            chain.key_up(key)
        chain.perform()

    def prefer(self, scheme: str) -> None:
        """Let pages see a system that is ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def size(self, width_px: int, height_px: int) -> None:
        """Give pages this much room."""
        metrics = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def requests(self) -> list[str]:
        """The addresses that pages have asked for so far, files too, but not what lies in the browser."""
        self._read_logs()
        return [url for url in self._requests if urlsplit(url).scheme not in _INSIDE]

    def console(self) -> list[str]:
        """Errors and warnings so far, exceptions that nothing caught among them."""
        self._read_logs()
        return list(self._messages)

    def assert_quiet(self) -> None:
        """No error in the console, and no request to another machine."""
        assert self.console() == []
        assert {urlsplit(url).hostname for url in self.requests()} <= {"127.0.0.1"}

    def _read_logs(self) -> None:
        """Selenium gives every entry once."""
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
        for entry in self.driver.get_log("browser"):  # type: ignore[no-untyped-call]
            if entry["level"] in ("SEVERE", "WARNING") and _SLOW_DRAWING not in entry["message"]:
                self._messages.append(entry["message"])


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser of its own, whose profile lies in ``profile``, an empty folder."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(shutil.which(CHROMIUM))
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService(shutil.which(DRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
