"""pprof: what an independent parser reads are the sums of ``top --by context``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from deepseek_prof.analysis.top import top
from deepseek_prof.query import compile_query
from deepseek_prof.trace.run import Run
from tests.support.drawn import EPOCH_NS, write_drawn_run
from tests.support.exported import HOSTILE, exported, gpu_run, hostile_run, training_step
from tests.support.synthetic import write_synthetic_run

_INT, _TEXT, _MESSAGE = "TYPE_INT64", "TYPE_STRING", "TYPE_MESSAGE"
FIELDS: dict[str, dict[str, tuple[int, str, bool, str]]] = {
    "ValueType": {"type": (1, _INT, False, ""), "unit": (2, _INT, False, "")},
    "Label": {"key": (1, _INT, False, ""), "str": (2, _INT, False, ""), "num": (3, _INT, False, "")},
    "Sample": {
        "location_id": (1, "TYPE_UINT64", True, ""),
        "value": (2, _INT, True, ""),
        "label": (3, _MESSAGE, True, "Label"),
    },
    "Line": {"function_id": (1, "TYPE_UINT64", False, ""), "line": (2, _INT, False, "")},
    "Mapping": {
        "id": (1, "TYPE_UINT64", False, ""),
        "filename": (5, _INT, False, ""),
        "has_functions": (7, "TYPE_BOOL", False, ""),
        "has_filenames": (8, "TYPE_BOOL", False, ""),
    },
    "Location": {
        "id": (1, "TYPE_UINT64", False, ""),
        "mapping_id": (2, "TYPE_UINT64", False, ""),
        "line": (4, _MESSAGE, True, "Line"),
    },
    "Function": {
        "id": (1, "TYPE_UINT64", False, ""),
        "name": (2, _INT, False, ""),
        "system_name": (3, _INT, False, ""),
        "filename": (4, _INT, False, ""),
    },
    "Profile": {
        "sample_type": (1, _MESSAGE, True, "ValueType"),
        "sample": (2, _MESSAGE, True, "Sample"),
        "mapping": (3, _MESSAGE, True, "Mapping"),
        "location": (4, _MESSAGE, True, "Location"),
        "function": (5, _MESSAGE, True, "Function"),
        "string_table": (6, _TEXT, True, ""),
        "time_nanos": (9, _INT, False, ""),
        "duration_nanos": (10, _INT, False, ""),
        "period_type": (11, _MESSAGE, False, "ValueType"),
        "period": (12, _INT, False, ""),
        "comment": (13, _INT, True, ""),
        "default_sample_type": (14, _INT, False, ""),
    },
}
"""Numbers and types of the published profile.proto: number, type, whether repeated, message."""


def _profile_class() -> Any:
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="profile.proto", package="pprof", syntax="proto3")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated, of) in fields.items():
            message.field.add(
                name=field,
                number=number,
                type=field_type.Type.Value(kind),
                label=field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL,
                type_name=f".pprof.{of}" if of else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pprof.Profile"))


def read(data: bytes) -> Any:
    """The parsed profile; fails where a field is of another type than published."""
    profile = _profile_class().FromString(data)
    assert profile.string_table[0] == ""
    assert len(set(profile.string_table)) == len(profile.string_table)
    return profile


def stacks(profile: Any) -> Counter[tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]]:
    """Names from the root on, their files, and the values of every sample."""
    text = profile.string_table
    function = {each.id: each for each in profile.function}
    at = {each.id: function[each.line[0].function_id] for each in profile.location}
    return Counter(
        (
            tuple(text[at[number].name] for number in reversed(sample.location_id)),
            tuple(text[at[number].filename] for number in reversed(sample.location_id)),
            tuple(sample.value),
        )
        for sample in profile.sample
    )


def labels(profile: Any) -> list[dict[str, str]]:
    text = profile.string_table
    return [{text[each.key]: text[each.str] for each in sample.label} for sample in profile.sample]


def test_a_training_step(tmp_path: Path) -> None:
    profile = read(exported(write_drawn_run(tmp_path / "run", training_step, steps=3), "pprof"))
    assert stacks(profile) == Counter(
        [
            (("net",), ("net",), (3, 6_000)),
            (("net", "aten::linear"), ("net", "net"), (3, 6_000)),
            (("net", "aten::linear", "aten::addmm"), ("net", "net", "net"), (3, 18_000)),
            (("net", "AddmmBackward0"), ("net", "net"), (3, 15_000)),
            (("Optimizer.step#SGD.step",), ("",), (3, 6_000)),
        ]
    )
    text = profile.string_table
    assert [(text[each.type], text[each.unit]) for each in profile.sample_type] == [
        ("spans", "count"),
        ("time", "nanoseconds"),
    ]
    assert text[profile.default_sample_type] == "time"
    assert (profile.time_nanos, profile.duration_nanos) == (EPOCH_NS, 51_000)
    (mapping,) = profile.mapping
    assert (text[mapping.filename], mapping.has_functions, mapping.has_filenames) == ("train", True, True)
    assert {each.mapping_id for each in profile.location} == {mapping.id}
    found = labels(profile)
    assert Counter(each["phase"] for each in found) == {"forward": 3, "backward": 1, "optimizer": 1}
    assert {(each["rank"], each["thread"]) for each in found} == {("0", "4200")}


@pytest.mark.parametrize("query", ["", "type:matmul", "phase:backward", "step:3..5"])
def test_values_add_up_to_what_top_says(tmp_path: Path, query: str) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=12, layers=2, ranks=2, evicted_steps=4)
    profile = read(exported(run.path, "pprof", query))
    with Run.open(run.path) as opened:
        table = top(opened, "op", compile_query(query) if query else None, limit=0)
    assert sum(sample.value[0] for sample in profile.sample) == table.span_count
    assert sum(sample.value[1] for sample in profile.sample) == table.self_ns
    by_name: Counter[str] = Counter()
    for (path, _, values), times in stacks(profile).items():
        by_name[path[-1]] += values[1] * times
    assert {row.name: row.self_ns for row in table.rows}.items() <= by_name.items()


def test_time_of_devices_is_a_value_of_its_own(tmp_path: Path) -> None:
    profile = read(exported(gpu_run(tmp_path), "pprof"))
    text = profile.string_table
    assert [text[each.type] for each in profile.sample_type] == ["spans", "time", "device_time"]
    found = {path[-1]: (path, values) for path, _, values in stacks(profile)}
    path, values = found["gemm_kernel"]
    assert path == ("Net_0", "Linear_0", "net.py(3): forward", "aten::linear", "aten::addmm", "gemm_kernel")
    assert values == (1, 0, 400_000)
    assert found["aten::addmm"][1] == (1, 50_000, 0)
    assert "cuda:0 stream 7" in {each["thread"] for each in labels(profile)}


def test_hostile_names_are_data(tmp_path: Path) -> None:
    found = {(path, files) for path, files, _ in stacks(read(exported(hostile_run(tmp_path / "run"), "pprof")))}
    assert found == {((name,), (name,)) for name in HOSTILE} | {((name, name), (name, name)) for name in HOSTILE}
