"""The table of contexts holds every context that has come, also after it was asked for."""

from __future__ import annotations

from deepseek_prof.model import Kind, Phase
from deepseek_prof.recording.context_table import ContextTable
from deepseek_prof.recording.contexts_log import ContextEntry


def names(table: ContextTable) -> list[str]:
    """The contexts' names, in the order of their coming."""
    return [str(name) for name in table.to_arrow()["name"].to_pylist()]


def test_a_context_of_any_origin_is_in_the_table_that_comes_after_it() -> None:
    table = ContextTable()
    assert names(table) == []
    table.add([ContextEntry(1, 0, Kind.OP, Phase.FORWARD, "aten::mm")])
    assert names(table) == ["aten::mm"]
    assert table.add_special("step", Kind.STEP)
    assert names(table) == ["aten::mm", "step"]
    parent_id = table.to_arrow()["context_id"][0].as_py()
    table.child(parent_id, Kind.KERNEL, "gemm")
    assert names(table) == ["aten::mm", "step", "gemm"]
    assert table.to_arrow() is table.to_arrow()
