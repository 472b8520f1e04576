"""Keys become what a terminal sends."""

from __future__ import annotations

import pytest

from deepseek_prof.tui.keys import pasted_bytes, terminal_bytes


@pytest.mark.parametrize(
    ("key", "character", "sent"),
    [
        ("a", "a", b"a"),
        ("upper_a", "A", b"A"),
        ("é", "é", "é".encode()),
        ("space", " ", b" "),
        ("enter", "\r", b"\r"),
        ("backspace", "\x7f", b"\x7f"),
        ("tab", "\t", b"\t"),
        ("shift+tab", None, b"\x1b[Z"),
        ("escape", "\x1b", b"\x1b"),
        ("ctrl+c", "\x03", b"\x03"),
        ("ctrl+d", "\x04", b"\x04"),
        ("ctrl+backslash", "\x1c", b"\x1c"),
        ("up", None, b"\x1b[A"),
        ("ctrl+left", None, b"\x1b[1;5D"),
        ("shift+home", None, b"\x1b[1;2H"),
        ("delete", None, b"\x1b[3~"),
        ("ctrl+pageup", None, b"\x1b[5;5~"),
        ("f1", None, b"\x1bOP"),
        ("shift+f1", None, b"\x1b[1;2P"),
        ("f5", None, b"\x1b[15~"),
        ("alt+b", None, b"\x1bb"),
        ("f20", None, b""),
    ],
)
def test_key(key: str, character: str | None, sent: bytes) -> None:
    assert terminal_bytes(key, character) == sent


def test_cursor_keys_have_a_second_form() -> None:
    assert terminal_bytes("up", None, application_keys=True) == b"\x1bOA"
    assert terminal_bytes("ctrl+up", None, application_keys=True) == b"\x1b[1;5A"


def test_pasted_text_cannot_leave_its_bracket() -> None:
    assert pasted_bytes("a\nb\r\nc", bracketed=False) == b"a\rb\rc"
    assert pasted_bytes("a\x1b[201~rm", bracketed=True) == b"\x1b[200~a[201~rm\x1b[201~"
