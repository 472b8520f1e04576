"""What a program writes to its terminal is shown as a terminal shows it, whatever it is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.color import Color

from deepseek_prof.tui.emulator import SCROLLBACK_LINES, Emulator


def emulated(output: bytes, columns: int = 40, lines: int = 6, chunk: int = 1 << 20) -> tuple[Emulator, list[str]]:
    """The terminal after ``output``, given in chunks, and what the program was answered."""
    answers: list[str] = []
    emulator = Emulator(columns, lines, answers.append)
    for start in range(0, len(output), chunk):
        emulator.feed(output[start : start + chunk])
    return emulator, answers


def text(output: bytes, columns: int = 40, lines: int = 6, chunk: int = 1 << 20) -> list[str]:
    """All lines."""
    emulator, _ = emulated(output, columns, lines, chunk)
    return ["".join(segment.text for segment in emulator.line(y)) for y in range(emulator.line_count)]


def test_progress_bar_overwrites_itself() -> None:
    bar = b"".join(b"\r%3d%%|%-10s|" % (done * 10, b"#" * done) for done in range(11))
    assert text(b"start\r\n" + bar + b"\r\ndone") == ["start", "100%|##########|", "done"]


def test_lines_that_scroll_off_stay_and_the_oldest_go() -> None:
    numbers = [f"line {number}" for number in range(SCROLLBACK_LINES + 20)]
    emulator, _ = emulated("\r\n".join(numbers).encode(), lines=6)
    shown = ["".join(segment.text for segment in emulator.line(y)) for y in range(emulator.line_count)]
    assert shown == numbers[-SCROLLBACK_LINES - 6 :]
    assert emulator.scrolled_away == 14


def test_long_lines_wrap_at_the_width() -> None:
    assert text(b"a" * 45 + b"\r\nb", columns=20) == ["a" * 20, "a" * 20, "a" * 5, "b"]


def test_colours_and_attributes_are_kept() -> None:
    emulator, _ = emulated(b"\x1b[31mred\x1b[0m \x1b[1;38;5;208mbold\x1b[0m \x1b[48:2::1:2:3mdeep\x1b[0m \x1b[93;4:3mx")
    red, _, bold, _, deep, _, last = emulator.line(0)
    assert (red.text, red.style and red.style.color) == ("red", Color.parse("red"))
    assert (bold.text, bold.style and bold.style.color) == ("bold", Color.parse("#ff8700"))
    assert bold.style
    assert bold.style.bold
    assert (deep.text, deep.style and deep.style.bgcolor) == ("deep", Color.parse("#010203"))
    assert last.style
    assert (last.style.color, last.style.underline) == (Color.parse("bright_yellow"), True)


def test_moves_and_erasures_redraw_a_block_in_place() -> None:
    frames = b"one\r\ntwo\r\n" + b"\x1b[2A\x1b[2KONE\r\n\x1b[1B" + b"three"
    assert text(frames) == ["ONE", "two", "three"]


def test_alternate_screen_leaves_no_trace() -> None:
    assert text(b"before\r\n\x1b[?1049h\x1b[2J\x1b[Hfull screen\x1b[?1049lafter") == ["before", "after"]


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_sequences_and_characters_may_be_cut_anywhere(chunk: int) -> None:
    output = "\x1b[32mgrün\x1b[0m 漢字 \x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ e\u0301".encode()
    assert text(output, chunk=chunk) == ["grün 漢字 link e\u0301"]


def test_what_it_does_not_know_is_not_shown() -> None:
    output = b"a\x1b[>4;1mb\x1b[?2026hc\x1bPdevice\x1b\\d\x1b(Be\x1b[=1uf\x1b[<ug\x1b[3 qh\x1b_apc\x1b\\i\x1b[9Jj"
    assert text(output) == ["abcdefghij"]


def test_marks_that_turn_or_join_text_do_not_reach_our_screen() -> None:
    assert text("a\u202eb\u2066c \u26a0\ufe0f \U0001f469\u200d\U0001f467 d".encode()) == [
        "abc \u26a0 \U0001f469\U0001f467 d"
    ]


def test_questions_are_answered() -> None:
    _, answers = emulated(b"ab\r\ncd\x1b[6n\x1b[c\x1b[5n")
    assert answers == ["\x1b[2;3R", "\x1b[?6c", "\x1b[0n"]


def test_modes_that_the_keys_need_are_known() -> None:
    emulator, _ = emulated(b"\x1b[?1h\x1b[?2004h")
    assert (emulator.application_keys, emulator.bracketed_paste) == (True, True)
    emulator.feed(b"\x1b[?1l\x1b[?2004l\x1b[?25l")
    assert (emulator.application_keys, emulator.bracketed_paste, emulator.cursor) == (False, False, None)


def test_line_of_ours_ends_what_was_begun() -> None:
    emulator, _ = emulated(b"begun\x1b[38;5")
    emulator.tell("[ours]")
    emulator.feed(b"next")
    lines = ["".join(segment.text for segment in emulator.line(y)) for y in range(emulator.line_count)]
    assert lines == ["begun", "[ours]", "next"]


_PIECES = [
    *(f"\x1b[{numbers}{final}" for numbers in ("", "0", "3", "99999", "2;3", "?1049", "?6", "?3", "38;5;300", "4")
      for final in "ABCDEFGHJKLMPXSTcdfghlmnrsu@`"),
    "\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1bM", "\x1bD", "\x1bE", "\x1bc", "\x1b7", "\x1b8", "\x1b#8", "\x1b(0",
    "\x9b", "\x9d", "²", "漢", "\u0301", "\u200d", "a", "bc def", "\t", "\b", "\r", "\n", "\x0b", "\x0e", "\0", "\x18",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES)), st.integers(1, 12), st.integers(1, 4), st.integers(1, 30))
def test_no_output_breaks_the_screen(pieces: list[str], columns: int, lines: int, chunk: int) -> None:
    emulator, _ = emulated("".join(pieces).encode(), columns, lines, chunk)
    for y in range(emulator.line_count):
        for segment in emulator.line(y):
            assert segment.text.isprintable()
            assert cell_len(segment.text) <= max(2, columns)


def test_random_bytes_do_not_break_it() -> None:
    source = random.Random(7)
    for _ in range(200):
        emulator, _ = emulated(source.randbytes(300), source.randint(1, 30), source.randint(1, 5), 50)
        assert emulator.line_count >= 1
