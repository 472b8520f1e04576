"""Names of repeated blocks."""

from __future__ import annotations

from deepseek_prof.analysis.blocks import block_names


def test_an_index_is_replaced_where_equal_blocks_stand_beside_it() -> None:
    names = ["encoder.0.norm", "encoder.0.mlp.1", "encoder.1.norm", "encoder.1.mlp.1", "head"]
    assert block_names(names) == {
        "encoder.0.norm": "encoder.*.norm",
        "encoder.0.mlp.1": "encoder.*.mlp.1",
        "encoder.1.norm": "encoder.*.norm",
        "encoder.1.mlp.1": "encoder.*.mlp.1",
        "head": "head",
    }


def test_different_blocks_and_plain_entries_of_a_sequential_stay_apart() -> None:
    names = ["net.0", "net.1", "stage.0.conv", "stage.1.norm"]
    assert block_names(names) == {name: name for name in names}


def test_blocks_in_blocks() -> None:
    names = [f"stage.{stage}.block.{block}.conv" for stage in (0, 1) for block in (0, 1)]
    assert set(block_names(names).values()) == {"stage.*.block.*.conv"}


def test_no_names() -> None:
    assert block_names([]) == {}
