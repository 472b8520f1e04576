"""The native recorder against a Python model of what ran: paths, counts, nesting and self times, on several threads."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import record_function

from deepseek_prof.collectors.child import ChildSettings
from deepseek_prof.collectors.native.build import compiler
from deepseek_prof.collectors.operators import NativeRecorder
from deepseek_prof.model import Kind
from deepseek_prof.recording.contexts_log import ContextEntry, read_contexts_log
from deepseek_prof.recording.segments import read_segment

pytestmark = pytest.mark.skipif(compiler() is None, reason="the native recorder needs a C++ compiler")

Node: TypeAlias = "tuple[str, tuple[Node, ...]]"
"""A user scope's name and what runs in it; an operator's name and ``()``."""

X = torch.ones(4, 4)
OPERATORS = {
    "aten::add": lambda: torch.add(X, X),
    "aten::mm": lambda: torch.mm(X, X),
    "aten::relu": lambda: torch.relu(X),  # calls another operator
    "aten::sum": lambda: torch.sum(X),
}
SCOPE_NAMES = ("outer", "outer2", "böse [red]\n", "x" * 300, "aten::add")

operators = st.sampled_from(tuple(OPERATORS)).map(lambda name: (f"op {name}", ()))
programs = st.lists(
    st.recursive(
        operators,
        lambda inner: st.tuples(st.sampled_from(SCOPE_NAMES), st.lists(inner, max_size=4).map(tuple)),
        max_leaves=15,
    ),
    max_size=5,
).map(tuple)


def execute(nodes: tuple[Node, ...]) -> None:
    for name, children in nodes:
        if name.startswith("op "):
            OPERATORS[name.removeprefix("op ")]()
        else:
            with record_function(name):
                execute(children)


def model(nodes: tuple[Node, ...], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, children in nodes:
        yield (*above, name)
        yield from model(children, (*above, name))


@dataclass
class Span:
    """A span that was read, with those that ran directly inside it."""

    start_ns: int
    dur_ns: int
    self_ns: int
    context: ContextEntry
    children: list[Span] = field(default_factory=list)

    @property
    def self_of_subtree_ns(self) -> int:
        return self.self_ns + sum(child.self_of_subtree_ns for child in self.children)


@dataclass
class Recording:
    """What the recorder wrote: the trees of spans of each thread, by the thread's id."""

    contexts: dict[int, ContextEntry]
    threads: dict[int, list[Span]]

    def path(self, context: ContextEntry) -> tuple[str, ...]:
        name = f"op {context.text}" if context.kind is Kind.OP else context.text
        return (*(self.path(self.contexts[context.parent_id]) if context.parent_id else ()), name)


def tree_of(spans: list[Span]) -> list[Span]:
    """Spans that stand in the order of their ends, as a forest: a span holds what began after it and is still loose."""
    loose: list[Span] = []
    for span in spans:
        depth_of_parent = len(loose)
        while depth_of_parent and loose[depth_of_parent - 1].context.parent_id == span.context.id:
            if loose[depth_of_parent - 1].start_ns < span.start_ns:
                break
            depth_of_parent -= 1
        span.children = loose[depth_of_parent:]
        loose[depth_of_parent:] = [span]
    return loose


def record(parts: list[tuple[Node, ...]]) -> Recording:
    """Runs the first part on this thread and every other on one of its own, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder) / "1-1"
        recorder = NativeRecorder()
        recorder.start(live, {"pid": 1, "torch": torch.__version__}, ChildSettings())
        try:
            execute(parts[0])
            for part in parts[1:]:
                thread = threading.Thread(target=execute, args=(part,))
                thread.start()
                thread.join()
        finally:
            recorder.stop()
        log = live / "contexts.log"
        contexts = {entry.id: entry for entry in read_contexts_log(log).contexts} if log.exists() else {}
        threads: dict[int, list[Span]] = {}
        for path in sorted(live.glob("t*-*.seg")):
            segment = read_segment(path)
            columns = (segment.start_ns, segment.dur_ns, segment.self_ns, segment.context)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            spans = [Span(start, dur, self_time, contexts[context]) for start, dur, self_time, context in rows]
            threads.setdefault(segment.tid, []).extend(spans)
        return Recording(contexts, {tid: tree_of(spans) for tid, spans in threads.items()})


def walk(spans: list[Span]) -> Iterator[Span]:
    for span in spans:
        yield span
        yield from walk(span.children)


few = settings(max_examples=40)


@few
@given(st.lists(programs, min_size=1, max_size=3))
def test_every_scope_and_operator_is_recorded_at_its_place(parts: list[tuple[Node, ...]]) -> None:
    recording = record(parts)
    expected = Counter(path for part in parts for path in model(part))
    found: Counter[tuple[str, ...]] = Counter()
    for spans in recording.threads.values():
        for span in walk(spans):
            path = recording.path(span.context)
            # What an operator calls inside itself is PyTorch's affair.
            if not any(name.startswith("op ") for name in path[:-1]):
                found[path] += 1
    assert found == expected
    # A thread's spans are its own: each part was on one.
    assert len(recording.threads) == sum(bool(part) for part in parts)


@few
@given(st.lists(programs, min_size=1, max_size=2))
def test_spans_nest_and_self_times_sum_to_their_root(parts: list[tuple[Node, ...]]) -> None:
    recording = record(parts)
    for roots in recording.threads.values():
        assert all(root.context.parent_id == 0 for root in roots)
        assert all(root.self_of_subtree_ns == root.dur_ns for root in roots)
        for before, after in pairwise(roots):
            assert before.start_ns + before.dur_ns <= after.start_ns
        for span in walk(roots):
            end_ns = span.start_ns
            for child in span.children:
                assert child.context.parent_id == span.context.id
                assert child.start_ns >= end_ns  # siblings follow one another, inside their parent
                end_ns = child.start_ns + child.dur_ns
            assert end_ns <= span.start_ns + span.dur_ns
            assert span.self_ns == span.dur_ns - sum(child.dur_ns for child in span.children)


@few
@given(programs)
def test_a_path_is_one_context(part: tuple[Node, ...]) -> None:
    recording = record([part, part])
    keys = [(entry.parent_id, entry.kind, entry.phase, entry.text) for entry in recording.contexts.values()]
    assert len(set(keys)) == len(keys)
    assert all(entry.parent_id < entry.id for entry in recording.contexts.values())
