"""Perfetto's protobuf: what its own message classes read, made slices again by a few lines of our own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

from deepseek_prof.exporters import span_stream
from tests.support.drawn import EPOCH_NS, Node, gap, module, op, write_drawn_run
from tests.support.exported import HOSTILE, exported, gpu_run, hostile_run, spans_of, training_step
from tests.support.synthetic import write_synthetic_run


@dataclass
class Slice:
    """A slice as a viewer shows it."""

    track: tuple[str, str]
    """Names of process and thread."""
    name: str
    category: str
    start_ns: int
    args: dict[str, Any]
    depth: int
    end_ns: int = -1
    leaving: list[int] = field(default_factory=list)
    arriving: list[int] = field(default_factory=list)


def slices(data: bytes) -> list[Slice]:
    """The slices in the order of their beginnings. Fails where a packet lacks its state, or an end its begin."""
    trace: Any = protos.Trace.FromString(data)
    packets = list(trace.packet)
    assert {packet.trusted_packet_sequence_id for packet in packets} == {1}
    tracks = dict(_tracks(packets))
    names = _interned(packets)
    open_slices: dict[int, list[Slice]] = defaultdict(list)
    found = []
    for packet in packets:
        if not packet.HasField("track_event"):
            continue
        assert packet.sequence_flags == protos.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        event = packet.track_event
        if event.type == protos.TrackEvent.TYPE_COUNTER:
            continue
        stack = open_slices[event.track_uuid]
        if event.type == protos.TrackEvent.TYPE_SLICE_END:
            assert stack[-1].start_ns <= packet.timestamp - EPOCH_NS
            stack.pop().end_ns = packet.timestamp - EPOCH_NS
            continue
        assert event.type == protos.TrackEvent.TYPE_SLICE_BEGIN
        begun = Slice(
            tracks[event.track_uuid],
            names["name", event.name_iid],
            " ".join(names["category", number] for number in event.category_iids),
            packet.timestamp - EPOCH_NS,
            {names["key", each.name_iid]: _value(each, names) for each in event.debug_annotations},
            len(stack),
            leaving=list(event.flow_ids),
            arriving=list(event.terminating_flow_ids),
        )
        stack.append(begun)
        found.append(begun)
    assert not any(open_slices.values())
    return found


def _tracks(packets: list[Any]) -> Iterator[tuple[int, tuple[str, str]]]:
    processes: dict[int, str] = {}
    for packet in packets:
        described = packet.track_descriptor
        if described.HasField("process"):
            processes[described.uuid] = described.process.process_name
        elif described.HasField("thread"):
            yield described.uuid, (processes[described.parent_uuid], described.thread.thread_name)


def _interned(packets: list[Any]) -> dict[tuple[str, int], str]:
    (packet,) = (each for each in packets if each.HasField("interned_data"))
    assert packet.sequence_flags == protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    data = packet.interned_data
    kinds = {"name": data.event_names, "category": data.event_categories, "key": data.debug_annotation_names}
    found = {(kind, each.iid): each.name for kind, entries in kinds.items() for each in entries}
    assert all(number > 0 for _, number in found)
    return found | {("value", each.iid): each.str.decode() for each in data.debug_annotation_string_values}


def _value(annotation: Any, names: dict[tuple[str, int], str]) -> Any:
    kind = annotation.WhichOneof("value")
    value = getattr(annotation, kind)
    return names["value", value] if kind == "string_value_iid" else value


def change_spans(run_dir: Path, column: str, change: Callable[[Any], Any]) -> None:
    """Give every span of a run of one part another value."""
    (path,) = (run_dir / "spans").rglob("*.parquet")
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    changed = pa.array([change(value) for value in table[column].to_pylist()], table.schema.field(index).type)
    pq.write_table(table.set_column(index, table.schema.field(index), changed), path)


def test_counters_are_tracks_of_their_process(tmp_path: Path) -> None:
    counters = [
        {"rank": 0, "ts_ns": EPOCH_NS + at, "device": "cpu", "name": "rss", "value": value, "unit": "bytes"}
        for at, value in ((-5_000, 1.0), (1_000, 7e9), (2_500, 8e9), (10**9, 2.0))
    ]
    run_dir = write_drawn_run(tmp_path / "run", training_step, counters=counters)
    packets: Any = protos.Trace.FromString(exported(run_dir, "perfetto")).packet
    descriptors = [each.track_descriptor for each in packets if each.HasField("track_descriptor")]
    described = {each.uuid: each for each in descriptors}
    assert len(described) == len(descriptors)
    (counter,) = (each for each in described.values() if each.HasField("counter"))
    assert (counter.name, counter.counter.unit_name) == ("rss (cpu)", "bytes")
    assert described[counter.parent_uuid].HasField("process")
    points = [each for each in packets if each.track_event.track_uuid == counter.uuid]
    assert {each.track_event.type for each in points} == {protos.TrackEvent.TYPE_COUNTER}
    assert [(each.timestamp - EPOCH_NS, each.track_event.double_counter_value) for each in points] == [
        (1_000, 7e9),
        (2_500, 8e9),
    ]


def test_a_training_step(tmp_path: Path) -> None:
    found = slices(exported(write_drawn_run(tmp_path / "run", training_step), "perfetto"))
    forward = {"layer": "net", "phase": "forward"}
    backward = {"layer": "net", "phase": "backward"}
    main = ("train", "main thread")
    assert found == [
        Slice(("train", "steps"), "step", "step", 0, {"phase": "other", "type": "other", "step": 0}, 0, 17_000),
        Slice(main, "net", "layer", 0, {**forward, "type": "other", "step": 0}, 0, 10_000, [1]),
        Slice(main, "aten::linear", "op", 0, {**forward, "type": "matmul", "step": 0}, 1, 8_000),
        Slice(main, "aten::addmm", "op", 0, {**forward, "type": "matmul", "step": 0}, 2, 6_000),
        Slice(
            main, "AddmmBackward0", "autograd", 10_000, {**backward, "type": "matmul", "step": 0}, 0, 15_000, [], [1]
        ),
        Slice(
            main,
            "Optimizer.step#SGD.step",
            "op",
            15_000,
            {"phase": "optimizer", "type": "optimizer", "step": 0},
            0,
            17_000,
        ),
    ]


def test_every_span_is_a_slice_whatever_the_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_stream, "WINDOW_SPANS", 700)
    run = write_synthetic_run(tmp_path / "run", steps=6, layers=2, ranks=2)
    found = slices(exported(run.path, "perfetto"))
    assert Counter((each.name, each.start_ns, each.end_ns, each.args["step"]) for each in found) == Counter(
        spans_of(run.path, f"name, start_ns - {EPOCH_NS}, start_ns + dur_ns - {EPOCH_NS}, step")
    )
    leaving = Counter(arrow for each in found for arrow in each.leaving)
    assert leaving == Counter(arrow for each in found for arrow in each.arriving)
    assert set(leaving.values()) == {1}
    assert max(each.depth for each in found) > 3


def test_what_sticks_out_of_its_parent_is_cut_off(tmp_path: Path) -> None:
    def draw(rank: int, step: int) -> list[Node]:
        return [op("outer", 1_000, gap(400), Node("late", 600)), gap(500)]

    run_dir = write_drawn_run(tmp_path / "run", draw)
    change_spans(run_dir, "dur_ns", lambda dur_ns: 900 if dur_ns == 600 else dur_ns)
    found = {each.name: (each.start_ns, each.end_ns, each.depth) for each in slices(exported(run_dir, "perfetto"))}
    assert found["outer"] == (0, 1_000, 0)
    assert found["late"] == (400, 1_000, 1)


def test_arrows_and_streams_of_a_device(tmp_path: Path) -> None:
    found = slices(exported(gpu_run(tmp_path), "perfetto"))
    source = {arrow: each.name for each in found for arrow in each.leaving}
    assert {(source[arrow], each.name) for each in found for arrow in each.arriving} == {
        ("cudaLaunchKernel", "gemm_kernel"),
        ("cudaMemcpyAsync", "Memcpy DtoD (Device -> Device)"),
        ("cudaLaunchKernel", "relu_kernel"),
        ("Linear_0", "autograd::engine::evaluate_function: AddmmBackward0"),
    }
    (copy,) = (each for each in found if each.category == "memcpy")
    assert copy.track[1] == "stream 7"
    assert copy.args == {"layer": "Linear_0", "phase": "backward", "type": "copy", "step": 7, "bytes": 4096}


def test_shapes_are_told(tmp_path: Path) -> None:
    run_dir = write_drawn_run(tmp_path / "run", lambda rank, step: [module("net", 20, op("aten::mm", 10))])
    change_spans(run_dir, "shapes", lambda _: "float32[2,3]")
    change_spans(run_dir, "flops", lambda _: 7)
    found = {each.name: (each.args["shapes"], each.args["flops"]) for each in slices(exported(run_dir, "perfetto"))}
    assert found == dict.fromkeys(("step", "net", "aten::mm"), ("float32[2,3]", 7))


def test_hostile_names_are_data(tmp_path: Path) -> None:
    found = slices(exported(hostile_run(tmp_path / "run"), "perfetto"))
    assert [each.name for each in found if each.category == "op"] == list(HOSTILE)
    assert [each.args["layer"] for each in found if each.category == "op"] == list(HOSTILE)
    assert {each.track for each in found} == {("tr\\udcffain.py", "steps"), ("tr\\udcffain.py", "worker \\udcff")}
