"""The queries that were entered before, newest last, also those of earlier sessions."""

from __future__ import annotations

import json
import os
from pathlib import Path

_LIMIT = 200


def default_path() -> Path:
    """Where queries are kept: ``$XDG_STATE_HOME/deepseek-prof/queries.jsonl``, below ``~/.local/state`` by default.

    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    folder = os.environ.get("XDG_STATE_HOME", "")
    base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".local" / "state"
    return base / "deepseek-prof" / "queries.jsonl"


class History:
    """A list of queries with a place in it. ``path`` None: it lasts as long as the session."""

    def __init__(self, path: Path | None = None) -> None:
        self.problem = ""
        """Why the file cannot be read or written; the history then lasts as long as the session."""
        self._path = path
        self._queries = self._read()
        self._place = len(self._queries)
        self._typed = ""

    @property
    def queries(self) -> tuple[str, ...]:
        """All, the oldest first."""
        return tuple(self._queries)

    def add(self, query: str) -> None:
        """Keep a query that was entered; one that is there already becomes the newest."""
        if query.strip():
            self._queries = [*(each for each in self._queries if each != query), query][-_LIMIT:]
            self._write()
        self._place = len(self._queries)

    def move(self, by: int, typed: str) -> str | None:
        """The query ``by`` places older (negative: newer); after the newest comes ``typed``. None: there is no more."""
        if self._place == len(self._queries):
            self._typed = typed
        place = self._place - by
        if not 0 <= place <= len(self._queries):
            return None
        self._place = place
        return self._typed if place == len(self._queries) else self._queries[place]

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            self.problem = f"{self._path} cannot be read: {error}."
            self._path = None
            return []
        return [query for query in map(_parsed, lines) if query is not None][-_LIMIT:]

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            temporary.write_text("".join(f"{json.dumps(query)}\n" for query in self._queries), encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            self.problem = f"{self._path} cannot be written: {error.strerror}."
            self._path = None


def _parsed(line: str) -> str | None:
    try:
        query = json.loads(line)
    except ValueError:
        return None  # cut off by a full disk: the other queries are as good as ever
    return query if isinstance(query, str) else None
