"""Runs that the tests of panes draw."""

from __future__ import annotations

from pathlib import Path

from tests.support.drawn import Node, gap, module, op, write_drawn_run

HOSTILE = {
    "markup": "[bold red]loud[/] [@click=app.quit]quit[/]",
    "escape": "\x1b[31mred\x1b[0m\x07",
    "lines": "one\ntwo\ttabbed\rback",
    "wide": "注意機構の層🚀注意機構の層",
    "combining": "e\u0301a\u0308o\u0302" * 4,
    "right to left": "שכבת קשב",
    "reordering": "\u202eevil\u2066",
    "empty": "",
}


def usual_step(rank: int, step: int) -> tuple[Node, ...]:
    """1 ms: two layers forward, a gap of 200 µs, one of them backward; and 300 µs on a thread beside it."""
    node = Node(
        "AddmmBackward0",
        300_000,
        "autograd",
        "backward",
        "net.fc",
        (op("aten::mm", 280_000, phase="backward", layer="net.fc"),),
        ("net", "net.fc"),
    )
    return (
        Node("aten::stack", 300_000, phase="data", tid=77),
        module(
            "net",
            400_000,
            module("net.conv", 100_000, op("aten::conv2d", 90_000)),
            module("net.fc", 200_000, op("aten::linear", 190_000, op("aten::addmm", 160_000))),
        ),
        gap(200_000),
        Node("backward", 400_000, "phase", "backward", children=(node,)),
    )


def write_usual_run(run_dir: Path, *, steps: int = 4) -> Path:
    """A run of equal steps of :func:`usual_step`."""
    return write_drawn_run(run_dir, usual_step, steps=steps)


def write_hostile_run(run_dir: Path) -> Path:
    """One step of layers and operators whose names are anything but harmless."""

    def draw(rank: int, step: int) -> tuple[Node, ...]:
        return tuple(module(name, 100_000, op(f"{name}::op", 80_000)) for name in HOSTILE.values())

    return write_drawn_run(run_dir, draw, steps=1)
