"""The viewer's server: what it gives to whom, and when it ends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deepseek_prof.errors import UsageError
from deepseek_prof.exporters.viewer import ViewerServer

PROFILE = b'{"profiles": []}'


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A folder that looks like the packed web app, with a file beside it that must never be served."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "index.html").write_text("<title>viewer</title>")
    (folder / "viewer.js").write_text("draw()")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def server(app: Path) -> Iterator[ViewerServer]:
    """A server that answers on a thread until it is closed."""
    with ViewerServer(PROFILE, app=app) as found:
        thread = threading.Thread(target=found.serve, args=(600.0,), daemon=True)
        thread.start()
        yield found
    thread.join(timeout=30.0)
    assert not thread.is_alive()


def ask(server: ViewerServer, target: str, host: str | None = None, method: str = "GET") -> tuple[int, str, bytes]:
    """Status, content type and body of a request, whose target is sent as it stands."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, target, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers.get_content_type(), body


def test_the_address_opens_the_app_with_the_profile(server: ViewerServer) -> None:
    root = urlsplit(server.url).path
    status, kind, page = ask(server, root)
    assert (status, kind) == (200, "text/html")
    assert b'src="open.js"' in page
    script = ask(server, f"{root}open.js")[2].decode()
    assert "index.html#profileURL=" in script
    assert '"profile.speedscope.json"' in script
    assert ask(server, f"{root}profile.speedscope.json") == (200, "application/json", PROFILE)
    assert ask(server, f"{root}index.html")[2] == b"<title>viewer</title>"
    assert ask(server, f"{root}viewer.js")[:2] == (200, "text/javascript")
    assert ask(server, f"{root}viewer.js?v=1", method="HEAD") == (200, "text/javascript", b"")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9999", "LOCALHOST:80"])
def test_names_of_this_machine_are_answered_also_through_a_forwarded_port(server: ViewerServer, host: str) -> None:
    assert ask(server, urlsplit(server.url).path, host)[0] == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::1", "localhost@evil"]
)
def test_other_names_are_refused(server: ViewerServer, host: str) -> None:
    status, _, body = ask(server, urlsplit(server.url).path, host)
    assert status == 403
    assert b"open.js" not in body


def test_without_the_token_there_is_nothing(server: ViewerServer) -> None:
    token = server.token
    assert len(token) >= 32
    for target in ("/", "/index.html", f"/{token}", f"/{token[:-1]}/", f"/{token}x/", "/x/", "*"):
        assert ask(server, target)[0] == 404, target


def test_only_the_packed_files_are_served(server: ViewerServer) -> None:
    root = urlsplit(server.url).path
    for name in ("../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "/etc/passwd", ".", "nothing.js", "a/"):
        assert ask(server, root + name)[0] == 404, name
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(server, root, method=method)[0] == 501


def test_two_servers_have_different_tokens_and_ports(app: Path) -> None:
    with ViewerServer(PROFILE, app=app) as first, ViewerServer(PROFILE, app=app) as second:
        assert first.token != second.token
        assert first.server_port != second.server_port
        assert first.socket.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_said(app: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} cannot be had"):
            ViewerServer(PROFILE, port, app)


def test_it_ends_when_nobody_asks_any_more(app: Path) -> None:
    with ViewerServer(PROFILE, app=app) as server:
        thread = threading.Thread(target=server.serve, args=(0.2,), daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()


def test_a_request_that_is_refused_keeps_nothing_alive(server: ViewerServer) -> None:
    before = server.asked_s
    assert ask(server, "/")[0] == 404
    assert ask(server, urlsplit(server.url).path, "evil.example")[0] == 403
    assert server.asked_s == before
    assert ask(server, urlsplit(server.url).path)[0] == 200
    assert server.asked_s > before


def test_a_browser_that_goes_away_in_an_answer_is_no_error(app: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ViewerServer(b"x" * 20_000_000, app=app) as server:
        threading.Thread(target=server.serve, args=(600.0,), daemon=True).start()
        before = set(threading.enumerate())
        with socket.create_connection(("127.0.0.1", server.server_port)) as gone:
            gone.sendall(
                f"GET {urlsplit(server.url).path}profile.speedscope.json HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            gone.recv(100)
            answering = set(threading.enumerate()) - before
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        for thread in answering:
            thread.join()
        assert answering
        assert ask(server, urlsplit(server.url).path)[0] == 200
    assert capfd.readouterr().err == ""
