"""Graph capture sees the program as without us: same graphs, no added break, no recompile; layers where known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.attribution.conftest import PROGRAMS, Cases, run_checked

PROGRAM = "compiled.py"
CASES = (
    "explain",
    "compiled",
    "compiled_in_place",
    "compiled_after_eager",
    "compiled_block",
    "compiled_function",
    "compiled_with_break",
    "compiled_function_with_break",
    "compiled_optimizer",
    "compiled_training",
    "compiled_shapes",
    "script",
    "trace",
    "fx",
    "export",
    "export_strict",
    "export_after_eager",
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of the same program without us."""
    results = tmp_path_factory.mktemp("bare") / "results.json"
    run_checked([sys.executable, str(PROGRAMS / PROGRAM), str(results)])
    found: dict[str, Any] = json.loads(Path(results).read_text())
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_program_captures_the_same_graphs_as_without_us(cases: Cases, bare: dict[str, Any], name: str) -> None:
    assert bare[name]["status"] == 0
    assert bare[name]["facts"]
    assert cases(name).facts == bare[name]["facts"]


def test_the_witness_knows_a_graph_break(bare: dict[str, Any]) -> None:
    assert bare["explain"]["facts"]["breaks"] == 0
    assert bare["compiled"]["facts"]["graph_breaks"] == 0
    assert bare["compiled_with_break"]["facts"]["graph_breaks"] > 0
    assert bare["compiled_shapes"]["facts"]["unique_graphs"] > 1


@pytest.mark.parametrize("name", ["compiled", "compiled_in_place", "compiled_after_eager"])
def test_a_compiled_model_is_one_layer_without_its_wrapper(cases: Cases, name: str) -> None:
    case = cases(name)
    assert "Net" in case.layers()
    assert not [layer for layer in case.layers() if "_orig_mod" in layer or "Optimized" in layer]
    eager = case.layers() if name == "compiled_after_eager" else set()
    assert "Net" in case.carried("%mm%", "backward")
    assert set(case.carried("%mm%", "backward")) <= {"Net"} | eager


def test_compiled_blocks_keep_their_names(cases: Cases) -> None:
    assert cases("compiled_block").layers() == {"Net", "blocks.0", "blocks.1", "head"}


def test_operators_of_a_compiled_function_have_no_layer(cases: Cases) -> None:
    assert cases("compiled_function").layers() == set()


@pytest.mark.parametrize("name", ["script", "trace"])
def test_a_scripted_module_is_a_layer_of_its_class(cases: Cases, name: str) -> None:
    case = cases(name)
    roots = {layer for layer in case.layers() if layer.startswith("Net")}
    assert roots
    # TorchScript's own differentiation numbers its nodes apart from autograd: those are honestly empty.
    carried = set(case.carried("%mm%", "backward")) - {None}
    assert carried
    assert carried <= roots


def test_a_traced_graph_module_names_its_layers(cases: Cases) -> None:
    case = cases("fx")
    layers = {layer for layer in case.layers() if not layer.startswith("Net")}
    assert {"head", "blocks.0.norm", "blocks.1.mlp.2"} <= layers
    assert None not in case.carried("%mm%", "backward")


def test_an_exported_program_has_a_layer(cases: Cases) -> None:
    case = cases("export")
    assert None not in case.carried("%mm%", "backward")


@pytest.mark.parametrize("name", ["compiled_optimizer", "compiled_training"])
def test_steps_of_a_compiled_optimizer_are_counted(cases: Cases, name: str) -> None:
    assert cases(name).steps() == 4
