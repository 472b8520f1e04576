"""Keys as the bytes that a terminal sends to a program.

Source: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, "PC-Style Function Keys"
"""

from __future__ import annotations

_CURSOR = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_TILDE = {
    "insert": 2, "delete": 3, "pageup": 5, "pagedown": 6,
    "f5": 15, "f6": 17, "f7": 18, "f8": 19, "f9": 20, "f10": 21, "f11": 23, "f12": 24,
}  # fmt: skip
_FUNCTION = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_PLAIN = {
    "enter": "\r", "tab": "\t", "escape": "\x1b", "backspace": "\x7f", "ctrl+backspace": "\x08", "shift+tab": "\x1b[Z",
    "ctrl+at": "\0", "ctrl+@": "\0", "ctrl+space": "\0", "ctrl+backslash": "\x1c", "ctrl+circumflex_accent": "\x1e",
    "ctrl+underscore": "\x1f",
}  # fmt: skip
_MODIFIERS = {"shift": 1, "alt": 2, "ctrl": 4}


def terminal_bytes(key: str, character: str | None, *, application_keys: bool = False) -> bytes:
    """What a terminal sends for a key as Textual names it; empty for a key that it would not send.

    ``application_keys``: the program asked for cursor keys in their second form (DECCKM).
    """
    return _sequence(key, character, application_keys=application_keys).encode("utf-8", "replace")


def pasted_bytes(text: str, *, bracketed: bool) -> bytes:
    """What a terminal sends for pasted text; ``bracketed`` where the program asked to be told."""
    plain = text.replace("\r\n", "\r").replace("\n", "\r").replace("\x1b", "")  # an escape would end the bracket
    return (f"\x1b[200~{plain}\x1b[201~" if bracketed else plain).encode("utf-8", "replace")


def _sequence(key: str, character: str | None, *, application_keys: bool) -> str:
    if key in _PLAIN:
        return _PLAIN[key]
    *held, base = key.split("+")
    if base in _CURSOR or base in _TILDE or base in _FUNCTION:
        return _special(base, 1 + sum(_MODIFIERS.get(each, 0) for each in set(held)), application_keys)
    if held == ["ctrl"] and len(base) == 1 and "a" <= base <= "z":
        return chr(ord(base) - 0x60)
    if character is not None and (character.isprintable() or character == " "):
        return f"\x1b{character}" if "alt" in held else character
    if held == ["alt"] and len(base) == 1:
        return f"\x1b{base}"
    return ""


def _special(base: str, modifier: int, application_keys: bool) -> str:
    with_modifier = f";{modifier}" if modifier > 1 else ""
    if base in _TILDE:
        return f"\x1b[{_TILDE[base]}{with_modifier}~"
    final = _CURSOR.get(base) or _FUNCTION[base]
    if with_modifier:
        return f"\x1b[1{with_modifier}{final}"
    return f"\x1bO{final}" if base in _FUNCTION or application_keys else f"\x1b[{final}"
