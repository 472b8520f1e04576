"""JSON lines over a Unix socket between the parent and a process that runs the program; see ``docs/optimizing.md``."""

from __future__ import annotations

import json
import select
import socket
from pathlib import Path
from typing import Any

_MAX_REASON = 600


class Channel:
    """One end of the conversation; every message is a JSON object on one line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = bytearray()

    @classmethod
    def connect(cls, path: str) -> Channel:
        """The program's end. Raises OSError where the parent is gone."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        return cls(connection)

    def send(self, message: dict[str, Any]) -> None:
        """Raises OSError where the other end is gone."""
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The next message, or None where none came in time. Raises EOFError where the other end is gone."""
        while b"\n" not in self._pending:
            if not select.select([self._connection], [], [], timeout_s)[0]:
                return None
            try:
                arrived = self._connection.recv(1 << 16)
            except ConnectionError:
                arrived = b""
            if not arrived:
                raise EOFError("the other end has gone")
            self._pending += arrived
        line, _, rest = bytes(self._pending).partition(b"\n")
        self._pending = bytearray(rest)
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def reason_of(error: BaseException) -> str:
    """An error as the reason that an answer tells."""
    return f"{type(error).__name__}: {error}"[:_MAX_REASON]


def not_known(message: object) -> dict[str, Any]:
    """The answer to a message that the program's end has no answer to."""
    return {"status": "failed", "reason": f"no message {message!r}"}


def listen(path: Path) -> socket.socket:
    """The parent's end, waiting for one program. Raises OSError."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)
    return server
