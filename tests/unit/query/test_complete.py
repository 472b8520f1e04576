"""Completion: what is offered where, and that what is offered parses."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepseek_prof.query import FIELDS, complete, known_values, parse
from deepseek_prof.trace.run import Run
from tests.support.synthetic import write_synthetic_run

KNOWN = {"layer": ("encoder.0", "encoder.1", 'odd "name", x', "head"), "op": ("aten::add", "aten::addmm", "load_add")}


def completed(text: str, cursor: int | None = None) -> list[str]:
    """The whole query after each of the completions."""
    return [text[: each.start] + each.text + text[each.end :] for each in complete(text, cursor, KNOWN)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("la", ["layer:"]),
        ("type:conv -la", ["type:conv -layer:"]),
        ("(s", ["(step:", "(stream:", "(self:", "(start:"]),
        ("layer:en", ["layer:encoder.0", "layer:encoder.1"]),
        ("layer:1", ["layer:encoder.1"]),
        ("layer:head,en", ["layer:head,encoder.0", "layer:head,encoder.1"]),
        ("-layer:HE", ["-layer:head"]),
        ("layer:odd", ['layer:"odd \\"name\\", x"']),
        ('layer:"head"', []),
        ('layer:"odd ', ['layer:"odd \\"name\\", x"']),
        ("op:add", ["op:aten::add", "op:aten::addmm", "op:load_add"]),
        ("phase:for", ["phase:forward"]),
        ("level>=w", ["level>=warning"]),
        ("dur>1", ["dur>1ns", "dur>1us", "dur>1ms", "dur>1s"]),
        ("dur:1ms..2.5m", ["dur:1ms..2.5ms"]),
        ("bytes>1k", ["bytes>1KB", "bytes>1KiB"]),
        ("dur>", []),
        ("step:1", []),
        ("bogus:1", []),
        ('"la', []),
    ],
)
def test_completions_at_the_end(text: str, expected: list[str]) -> None:
    assert completed(text) == expected


def test_every_field_is_offered_where_a_clause_begins() -> None:
    for text in ("", "a ", "a or (", "-"):
        assert [each.text for each in complete(text)] == [f"{name}:" for name in FIELDS]
        assert all(each.meaning for each in complete(text))


def test_completion_in_the_middle_keeps_what_follows() -> None:
    assert completed("la type:conv", 2) == ["layer: type:conv"]


def test_offered_values_are_those_of_the_run_and_parse(tmp_path: Path) -> None:
    write_synthetic_run(tmp_path / "run", steps=2, layers=1)
    with Run.open(tmp_path / "run") as run:
        known = known_values(run)
    assert "encoder.0.attention" in known["layer"]
    assert "aten::addmm" in known["op"]
    assert set(known["type"]) < set(FIELDS["type"].choices)
    for field, values in known.items():
        assert len(complete(f"{field}:", None, known)) == min(50, len(values))
        for each in complete(f"{field}:", None, known):
            parse(f"{field}:{each.text}")
