"""Figures as people read them, and names that may hold anything."""

from __future__ import annotations

import pytest

from deepseek_prof.text import clean, count, counted, csv_cell, duration, percent, shortened, shortened_apart, size

HOSTILE = ["a\x1b[31mred", "two\nlines", "tab\there", "nul\0", "\x9b0m", "right\u202eleft", "\udc80", "\r", "\x7f"]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0"),
        (-5, "0"),
        (0.4, "0.40 ns"),
        (1, "1.00 ns"),
        (999.4, "999 ns"),
        (999.9, "1.00 µs"),
        (12_345, "12.3 µs"),
        (99_940, "99.9 µs"),
        (99_960, "100 µs"),
        (999_600, "1.00 ms"),
        (10.8e6, "10.8 ms"),
        (1e9, "1.00 s"),
        (119.4e9, "119 s"),
        (120e9, "2 min 00 s"),
        (3_725e9, "62 min 05 s"),
    ],
)
def test_duration(ns: float, text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 spans"), (1, "1 span"), (2, "2 spans"), (1_425, "1,425 spans")])
def test_counted(number: int, text: str) -> None:
    assert counted(number, "span") == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (525 << 20, "525 MiB"), (3 << 30, "3.00 GiB")],
)
def test_size(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1e-9, "<0.1 %"), (0.012, "1.2 %"), (0.0996, "10 %"), (0.41, "41 %"), (1, "100 %")]
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (1425, "1,425"), (1425.4, "1,425"), (12.34, "12.3"), (0.25, "0.25"), (3.0, "3")]
)
def test_count(number: float, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_clean_name_is_printable_and_on_one_line(name: str) -> None:
    for text in (clean(name), shortened(name, 6), csv_cell(name)):
        assert text.isprintable()
    assert "\\" in clean(name)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("aten::mm", "encoder.0.自注意力", "[bold]x[/bold]", "émile", "Optimizer.step#AdamW.step"):
        assert clean(name) == csv_cell(name) == name


@pytest.mark.parametrize("length", [120, 121, 5000])
def test_a_long_name_keeps_both_ends(length: int) -> None:
    text = clean("a" + "x" * (length - 2) + "z")
    assert len(text) == min(length, 120)
    assert (text[0], text[-1], "…" in text) == ("a", "z", length > 120)


@pytest.mark.parametrize("width", range(12))
def test_a_shortened_name_fits(width: int) -> None:
    assert len(shortened("aten::something", width)) <= width
    assert shortened("op", 2) == "op"


def test_names_that_would_look_the_same_are_shortened_about_their_difference() -> None:
    names = [f"bert.encoder.layer.{index}.attention.self.query" for index in (3, 11)] + ["bert.embeddings", "pooler"]
    assert shortened_apart(names, 26) == ["…layer.3.…ntion.self.query", "…layer.11…ntion.self.query", *names[2:]]
    stages = [f"model.stages.{i}.blocks.{j}.attention.self.query.projection" for i in (0, 1) for j in (0, 1)]
    assert shortened_apart(stages, 26)[:2] == ["…0.blocks.0.attention.sel…", "…0.blocks.1.attention.sel…"]
    assert len(set(shortened_apart(stages, 26))) == 4
    assert shortened_apart(["same" * 9] * 2, 10) == [shortened("same" * 9, 10)] * 2
    apart = shortened_apart(["a" * 40 + "x" + "b" * 40, "a" * 40 + "y" + "b" * 40], 12)
    assert len(set(apart)) == 2
    assert {len(each) for each in apart} == {12}


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_sees_no_formula(name: str) -> None:
    assert csv_cell(name).startswith("'")
