"""Small runs to export, names that formats must escape, and an exporter's output as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from deepseek_prof.exporters.registry import Selection, load
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from deepseek_prof.trace.run_file import read_run_file
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.drawn import Node, module, op, write_drawn_run

HOSTILE = (
    "quotes \" ' and \\ backslash",
    '"},{"ph":"X"',
    "</script><script>alert(1)</script>",
    "two\nlines\tand\rmore",
    "\x1b[31mred\x1b[0m \x07",
    "\x00nothing\x7f\x9b",
    "'; DROP TABLE spans; --",
    "\U0001f600 \u202e \u2028",
    "π" * 10_000,
    "",
)
"""Names of operators and layers that a program may give."""
ORDER = "start_ns, dur_ns DESC, tid, rank, context_id"


class Pipe(BytesIO):
    """A file that knows no places, as a pipe."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise OSError("a pipe cannot seek")

    def tell(self) -> int:
        raise OSError("a pipe has no places")


def exported(run_dir: Path, output_format: str, query: str = "") -> bytes:
    """What the installed exporter of that name writes of a run, into a pipe."""
    file = Pipe()
    with Run.open(run_dir) as run:
        selection = Selection(compile_query(query) if query else None, query)
        load(output_format).write(run, selection, file)
    return file.getvalue()


def spans_of(run_dir: Path, columns: str = "*", where: str = "TRUE") -> list[tuple[Any, ...]]:
    """Rows of the view ``spans``, in the order in which spans are exported."""
    with Run.open(run_dir) as run:
        return run.rows(f"SELECT {columns} FROM spans WHERE {where} ORDER BY {ORDER}")


def training_step(rank: int, step: int) -> Sequence[Node]:
    """17 µs: a layer with an operator in another, its backward, the optimizer."""
    return [
        module("net", 10_000, op("aten::linear", 8_000, op("aten::addmm", 6_000))),
        Node("AddmmBackward0", 5_000, kind="autograd", phase="backward", layer="net", below=("net",)),
        op("Optimizer.step#SGD.step", 2_000, phase="optimizer"),
    ]


def hostile_run(run_dir: Path) -> Path:
    """A layer and an operator of each hostile name; file and thread names that UTF-8 cannot hold."""

    def draw(rank: int, step: int) -> Sequence[Node]:
        return [module(name, 2_000, op(name, 1_000)) for name in HOSTILE]

    process = {"threads": {"4200": "worker \udcff"}, "argv": ["secret.py"], "python": "/home/me/python"}
    write_drawn_run(run_dir, draw)
    # As another tool may write it: ours replaces what UTF-8 cannot hold.
    info = read_run_file(run_dir) | {"script": "tr\udcffain.py"}
    info["processes"][0] |= process
    (run_dir / "run.json").write_text(json.dumps(info))
    return run_dir


def gpu_run(folder: Path) -> Path:
    """A step whose operators launched two kernels and a copy, imported from a trace drawn by hand."""
    import_traces([write_trace(folder / "gpu.json", one_training_step())], folder / "gpu")
    return folder / "gpu"
