"""Serves the speedscope web app and one profile to a browser on this machine, and to nobody else.

The socket listens on 127.0.0.1; every address holds a token that cannot be guessed; a request whose ``Host`` is another
name is refused, so that no web page reaches us under a name of its own (DNS rebinding). Only the app's files, read
once, and the profile are served.
"""

from __future__ import annotations

import mimetypes
import re
import secrets
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deepseek_prof.errors import UsageError

APP = Path(__file__).resolve().parent / "speedscope_app"
ADDRESS = "127.0.0.1"
_HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_PROFILE = "profile.speedscope.json"
# The app wants its profile's whole address, which a forwarded port changes: the page finds it out by itself.
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>deepseek-prof flame</title>
<script src="open.js"></script></head><body><noscript>The viewer needs JavaScript.</noscript></body></html>
"""
_OPEN = f"""const profile = new URL("{_PROFILE}", location.href).href;
location.replace("index.html#profileURL=" + encodeURIComponent(profile));
"""
_HEADERS = {
    "Cache-Control": "no-store",
    # The app writes styles of its own and compiles a reader of another format; nothing may come from elsewhere.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class _Page:
    content_type: str
    body: bytes


def has_app(app: Path = APP) -> bool:
    """Whether the web app was packed when this installation was built."""
    return (app / "index.html").is_file()


class ViewerServer(ThreadingHTTPServer):
    """Listens from its creation on; :meth:`serve` answers. Use as a context manager, which ends that and closes the
    socket."""

    daemon_threads = True

    def __init__(self, profile: bytes, port: int = 0, app: Path = APP) -> None:
        """``profile`` is a speedscope file; ``port`` 0 takes a free one.

        Raises:
            UsageError: the port cannot be had.
        """
        self._serving = threading.Lock()
        self._closing = False
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"Port {port} cannot be had ({error.strerror}): name another, or none with --port 0."
            ) from error
        self.token = secrets.token_urlsafe(24)
        self.pages = _pages(app, profile)
        self.asked_s = time.monotonic()
        """When the last request came that was answered."""

    @property
    def url(self) -> str:
        """The address that opens the profile."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def serve(self, idle_s: float) -> None:
        """Answer requests until none has been answered for ``idle_s`` seconds."""
        with self._serving:
            self.asked_s = time.monotonic()
            while not self._closing and (left_s := self.asked_s + idle_s - time.monotonic()) > 0:
                self.timeout = left_s
                self.handle_request()

    def server_close(self) -> None:
        """Close the socket, once the thread that serves has let go of it."""
        self._closing = True
        with suppress(OSError):  # it never listened
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes who waits for a request
        with self._serving:
            super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def page(self, host: str, target: str) -> _Page | HTTPStatus:
        """What a request gets, by its ``Host`` header and its target."""
        if not _HOSTS.fullmatch(host):
            return HTTPStatus.FORBIDDEN
        path, prefix = target.partition("?")[0], f"/{self.token}/"
        if not secrets.compare_digest(path[: len(prefix)].encode(), prefix.encode()):
            return HTTPStatus.NOT_FOUND
        return self.pages.get(path[len(prefix) :], HTTPStatus.NOT_FOUND)


def _pages(app: Path, profile: bytes) -> dict[str, _Page]:
    """Everything that is served, by the path below the token."""
    pages = {
        path.relative_to(app).as_posix(): _Page(_content_type(path), path.read_bytes())
        for path in sorted(app.rglob("*"))
        if path.is_file()
    }
    return pages | {
        "": _Page("text/html; charset=utf-8", _PAGE.encode()),
        "open.js": _Page("text/javascript", _OPEN.encode()),
        _PROFILE: _Page("application/json", profile),
    }


def _content_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    server_version = "deepseek-prof"
    sys_version = ""
    timeout = 60.0  # a connection that says nothing holds a thread no longer

    def do_GET(self) -> None:
        """Send a page, or why not."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """The same without the page."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class calls it
        """Requests are no news."""

    def _answer(self, *, with_body: bool) -> None:
        found = self.server.page(self.headers.get("Host", ""), self.path)
        if isinstance(found, HTTPStatus):
            self.send_error(found)
            return
        self.server.asked_s = time.monotonic()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", found.content_type)
        self.send_header("Content-Length", str(len(found.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(found.body)
