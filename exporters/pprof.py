"""pprof: the context tree as the profile.proto that ``go tool pprof`` and Pyroscope read.

Source of the format, and of the numbers of its fields: https://github.com/google/pprof/blob/main/proto/profile.proto.
A stack is a calling context; its values are the sums that ``top --by context`` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from deepseek_prof.exporters.protobuf import chunk, integer, packed

if TYPE_CHECKING:
    from deepseek_prof.analysis.aggregate import ContextNode, ContextSum, ContextTree
    from deepseek_prof.exporters.registry import Selection
    from deepseek_prof.trace.run import Run

_SPANS = ("spans", "count")
_TIME = ("time", "nanoseconds")
_DEVICE_TIME = ("device_time", "nanoseconds")
"""Of accelerators, whose time passes beside the host's and is never added to it."""
_PROGRAM = 1
"""The number of the only mapping, which is where pprof looks for a program's name."""


class PprofExporter:
    """Functions are layers, operators and kernels; the file of a function is its layer, so that files are layers."""

    summary = "sums by calling context, for go tool pprof and Pyroscope"
    suffix = ".pb.gz"

    def write(self, run: Run, selection: Selection, file: BinaryIO) -> None:
        """Write the sums of the selected spans, with those of spans that ``--max-size`` removed, as ``top`` has them.

        Raises:
            UsageError: nothing is selected.
            RunDamagedError: a file of the run is damaged.
        """
        from deepseek_prof.analysis.aggregate import ContextTree, selected_sums

        tree = ContextTree.of(run)
        sums = selected_sums(run, tree, selection.condition)
        if not sums:
            raise selection.empty(run)
        profile = _Profile(tree, devices=any(each.device is not None for each in sums))
        for each in sums:
            profile.add(each)
        file.write(profile.encoded(run))


class _Profile:
    """A message ``Profile`` that grows by samples. Text is numbered by its place in the table of strings."""

    def __init__(self, tree: ContextTree, *, devices: bool) -> None:
        self._tree = tree
        self._types = (_SPANS, _TIME, _DEVICE_TIME) if devices else (_SPANS, _TIME)
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._samples: list[bytes] = []

    def add(self, each: ContextSum) -> None:
        """One ``Sample``. The leaf stands first."""
        stack = (each.node, *self._tree.ancestors(each.rank, each.pid, each.node))
        values = (each.count, 0, each.self_ns) if each.device else (each.count, each.self_ns, 0)
        labels = {
            "phase": each.node.phase,
            "type": each.node.type,
            "rank": str(each.rank),
            "thread": f"{each.device} stream {each.tid}" if each.device else str(each.tid),
        }
        self._samples.append(
            packed(1, map(self._function, stack))
            + packed(2, values[: len(self._types)])
            + b"".join(
                chunk(3, integer(1, self._string(key)) + integer(2, self._string(value)))
                for key, value in labels.items()
            )
        )

    def encoded(self, run: Run) -> bytes:
        """The message."""
        created_ns, ended_ns = run.info.get("created_ns"), run.info.get("ended_ns")
        # Each function has one location of the same number, and no line in it.
        functions = [
            integer(1, number)
            + integer(2, self._string(name))
            + integer(3, self._string(name))
            + integer(4, self._string(layer))
            for (name, layer), number in self._functions.items()
        ]
        locations = [
            integer(1, number) + integer(2, _PROGRAM) + chunk(4, integer(1, number))
            for number in self._functions.values()
        ]
        # Says that functions and files have their names, so that nobody looks for symbols.
        script = self._string(str(run.info.get("script") or run.name))
        program = integer(1, _PROGRAM) + integer(5, script) + integer(7, 1) + integer(8, 1)
        types = [chunk(1, self._value_type(*each)) for each in self._types]
        period = chunk(11, self._value_type(*_TIME)) + integer(12, 1)
        comment = integer(13, self._string(f"deepseek-prof {run.name}")) + integer(14, self._string(_TIME[0]))
        times = b""
        if isinstance(created_ns, int) and created_ns > 0:
            times = integer(9, created_ns)
            if isinstance(ended_ns, int) and ended_ns >= created_ns:
                times += integer(10, ended_ns - created_ns)
        return b"".join(
            (
                *types,
                *(chunk(2, sample) for sample in self._samples),
                chunk(3, program),
                *(chunk(4, location) for location in locations),
                *(chunk(5, function) for function in functions),
                *(chunk(6, text.encode("utf-8", "backslashreplace")) for text in self._strings),
                times,
                period,
                comment,
            )
        )

    def _function(self, node: ContextNode) -> int:
        return self._functions.setdefault((node.name, node.layer or ""), len(self._functions) + 1)

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _value_type(self, name: str, unit: str) -> bytes:
        return integer(1, self._string(name)) + integer(2, self._string(unit))
