"""The views, against numbers computed by hand and against ``top`` for the same query."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepseek_prof.analysis.flame import VIEWS, Profile, all_profiles, profiles
from deepseek_prof.analysis.top import top
from deepseek_prof.errors import UsageError
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.flame.drawing import draw, total_of, weights
from tests.support.chrome_trace import REAL_TRACES
from tests.support.drawn import Node, module, op, write_drawn_run
from tests.support.synthetic import write_synthetic_run

QUERIES = ["", "phase:backward", "layer:encoder.1.*", "type:matmul step:2..6", "-op:aten::mm", "dur>20us", "linear"]


def test_layers_go_from_the_phase_over_modules_to_operators(run: Run) -> None:
    (profile,) = profiles(run, "layers")
    assert profile.unit == "nanoseconds"
    assert weights(profile) == {
        "data > aten::mm": 120,
        "forward > net": 40,
        "forward > net > net.fc": 40,
        "forward > net > net.fc > aten::linear": 40,
        "forward > net > net.fc > aten::linear > aten::addmm": 240,
        "forward > net > aten::add": 40,
        "backward": 80,
        "backward > net > net.fc > AddmmBackward0": 40,
        "backward > net > net.fc > AddmmBackward0 > aten::mm": 680,
    }
    kinds = [frame.kind for frame in profile.stacks[4].path]
    assert kinds == ["phase", "layer", "layer", "op", "op"]


def test_operators_go_from_the_type_over_the_operator_to_the_layer(run: Run) -> None:
    (profile,) = profiles(run, "ops")
    assert weights(profile) == {
        "matmul > aten::mm > net.fc": 680,
        "matmul > aten::mm > (outside layers)": 120,
        "matmul > aten::addmm > net.fc": 240,
        "matmul > aten::linear > net.fc": 40,
        "matmul > AddmmBackward0 > net.fc": 40,
        "elementwise > aten::add > net": 40,
    }
    assert [stack.weight for stack in profile.stacks[:2]] == [680, 120], "the heaviest first"


@pytest.fixture(scope="module", params=[0, 3], ids=["whole", "evicted"])
def synthetic(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Ten steps on two ranks; of three, ``--max-size`` kept only sums."""
    path = tmp_path_factory.mktemp("runs") / "run"
    return write_synthetic_run(path, steps=10, layers=3, ranks=2, evicted_steps=request.param).path


@pytest.mark.parametrize("query", QUERIES)
def test_every_number_is_that_of_top(synthetic: Path, query: str) -> None:
    condition = compile_query(query) if query else None
    with Run.open(synthetic) as run:
        (layers,) = profiles(run, "layers", condition)
        (ops,) = profiles(run, "ops", condition)
        by = {key: top(run, key, condition, limit=0) for key in ("layer", "op", "type", "phase")}
    assert layers.total == by["op"].self_ns
    assert sum(stack.count for stack in layers.stacks) <= by["op"].span_count
    assert by["layer"].rows
    for row in by["layer"].rows:
        assert total_of(layers, row.name, "layer") == row.total_ns
    for row in by["phase"].rows:
        assert total_of(layers, row.name, "phase") == row.self_ns
    for row in by["type"].rows:
        assert total_of(ops, row.name, "type") == row.self_ns
    own = {name: 0 for stack in ops.stacks for name in (stack.path[1].name,)}
    for stack in ops.stacks:
        own[stack.path[1].name] += stack.weight
    assert own == {row.name: row.self_ns for row in by["op"].rows if row.self_ns}


def test_stacks_stand_in_the_order_of_a_walk(synthetic: Path) -> None:
    with Run.open(synthetic) as run:
        found = all_profiles(run)
    assert [profile.name for profile in found] == ["layers · host time", "operators · host time"]
    for profile in found:
        for depth in range(1, max(len(stack.path) for stack in profile.stacks)):
            beginnings = [stack.path[:depth] for stack in profile.stacks if len(stack.path) >= depth]
            runs = [key for key, _ in groupby(beginnings)]
            assert len(runs) == len(set(runs)), "a viewer would draw one frame in several pieces"
    phases = [key for key, _ in groupby(stack.path[0].name for stack in found[0].stacks)]
    assert phases == ["data", "forward", "backward", "optimizer"]


def test_backward_outside_of_its_layers_is_put_into_them(tmp_path: Path) -> None:
    def outside(rank: int, step: int) -> tuple[Node, ...]:
        return (
            module("net", 100, module("net.fc", 80, op("aten::addmm", 60))),
            Node("AddmmBackward0", 50, "autograd", "backward", "net.fc"),
        )

    with Run.open(write_drawn_run(tmp_path / "run", outside)) as run:
        (profile,) = profiles(run)
        rows = {row.name: row.total_ns for row in top(run, "layer").rows}
    assert weights(profile)["backward > net > net.fc > AddmmBackward0"] == 50
    assert {name: total_of(profile, name, "layer") for name in rows} == rows


def test_work_recomputed_in_another_layer_counts_for_its_own(tmp_path: Path) -> None:
    inner = op("aten::mm", 30, layer="net.fc")
    drawn = module("net", 100, Node("net.other", 60, "layer", layer="net.other", children=(inner,)))
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: (drawn,))) as run:
        (profile,) = profiles(run)
        rows = {row.name: row.total_ns for row in top(run, "layer").rows}
    assert weights(profile)["forward > net.fc > aten::mm"] == 30
    assert {name: total_of(profile, name, "layer") for name in rows} == rows


def test_a_recursive_module_is_one_frame_and_a_recursive_operator_several(tmp_path: Path) -> None:
    tree = module("tree", 100, module("tree", 60, op("aten::to", 50, op("aten::to", 20))))
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: (tree,))) as run:
        (profile,) = profiles(run)
    assert weights(profile) == {
        "forward > tree": 50,
        "forward > tree > aten::to": 30,
        "forward > tree > aten::to > aten::to": 20,
    }


def test_time_of_accelerators_stands_apart(device_run: Run) -> None:
    host, device = profiles(device_run, "layers")
    assert (host.name, device.name) == ("layers · host time", "layers · accelerator time")
    table = top(device_run, "layer", limit=0)
    assert (host.total, device.total) == (table.self_ns, table.device_ns) == (600_000, 447_000)
    for row in table.rows:
        assert total_of(host, row.name, "layer") == row.total_ns
        assert total_of(device, row.name, "layer") == row.device_ns
    _, launched = profiles(device_run, "ops")
    by_type = {row.name: row.device_ns for row in top(device_run, "type", limit=0).rows if row.device_ns}
    assert {name: total_of(launched, name, "type") for name in by_type} == by_type


def test_kernels_by_type_and_by_layer(device_run: Run) -> None:
    by_type, by_layer = profiles(device_run, "kernels")
    assert by_type.total == by_layer.total == 447_000
    for row in top(device_run, "op", compile_query("kind:kernel,memcpy")).rows:
        kind = "memcpy" if row.name.startswith("Memcpy") else "kernel"
        assert total_of(by_type, row.name, kind) == total_of(by_layer, row.name, kind) == row.self_ns
    assert "forward > Net_0 > Linear_0 > gemm_kernel" in weights(by_layer)
    only_kernels = profiles(device_run, "layers", compile_query("kind:kernel"))
    assert [profile.name for profile in only_kernels] == ["layers · accelerator time"]


def test_copies_have_bytes(device_run: Run) -> None:
    (profile,) = profiles(device_run, "memory")
    assert (profile.unit, profile.total) == ("bytes", 4096)


def test_bytes_count_where_they_are_worked_on(tmp_path: Path) -> None:
    path = write_drawn_run(tmp_path / "run", draw, steps=2)
    (file,) = path.glob("spans/**/*.parquet")
    table = pq.read_table(file, partitioning=None)
    column = table.schema.get_field_index("bytes")
    pq.write_table(table.set_column(column, "bytes", pa.array([100] * len(table), pa.int64())), file)
    with Run.open(path) as run:
        (profile,) = profiles(run, "memory")
    assert weights(profile) == {
        "data > aten::mm": 200,
        "forward > net > net.fc > aten::linear > aten::addmm": 200,
        "forward > net > aten::add": 200,
        "backward": 200,
        "backward > net > net.fc > AddmmBackward0 > aten::mm": 200,
    }


@pytest.mark.parametrize("view", ["kernels", "memory", "python"])
def test_what_was_not_recorded_is_said_with_what_to_do(run: Run, view: str) -> None:
    with pytest.raises(UsageError, match=r"No (work of accelerators|bytes|Python stacks): "):
        profiles(run, view)


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_selection_is_said(run: Run, view: str) -> None:
    with pytest.raises(UsageError):
        profiles(run, view, compile_query("op:nothing"))


def test_nothing_selected_in_any_view_and_an_unknown_view(run: Run) -> None:
    with pytest.raises(UsageError, match="Nothing selected"):
        all_profiles(run, compile_query("op:nothing"))
    with pytest.raises(UsageError, match="colours"):
        profiles(run, "colours")


def test_deep_stacks_need_no_recursion(tmp_path: Path) -> None:
    node = op("aten::to", 1)
    for depth in range(400):
        node = replace(node, name=f"aten::to{depth}", ns=depth + 2, children=(node,))
    with Run.open(write_drawn_run(tmp_path / "run", lambda rank, step: (node,))) as run:
        (profile, *_) = all_profiles(run)
    assert isinstance(profile, Profile)
    assert max(len(stack.path) for stack in profile.stacks) == 402


@pytest.mark.skipif(not REAL_TRACES.is_dir(), reason=f"no traces in {REAL_TRACES}")
@pytest.mark.parametrize("path", sorted(REAL_TRACES.glob("*.json.gz")), ids=lambda path: path.name)
def test_flame_graphs_of_real_gpu_programs_are_those_of_top(tmp_path: Path, path: Path) -> None:
    import_traces([path], tmp_path / "run")
    with Run.open(tmp_path / "run") as run:
        found = {profile.name: profile for profile in all_profiles(run)}
        table = top(run, "type", limit=0)
    host, device = found["layers · host time"], found["layers · accelerator time"]
    assert (host.total, device.total) == (table.self_ns, table.device_ns)
    assert found["kernels by type · accelerator time"].total == found["kernels by layer · accelerator time"].total
    for row in table.rows:
        assert total_of(found["operators · host time"], row.name, "type") == row.self_ns
        assert total_of(found["operators · accelerator time"], row.name, "type") == row.device_ns
