"""Captures and replays of CUDA graphs are noted where a window was open all the while; only the graph is a stand-in."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import torch

from deepseek_prof.collectors.cuda_graphs import GraphWatch


class Graph:
    """What PyTorch's has, for a device that may refuse."""

    fails = False

    def capture_begin(self, pool: object = None) -> object:
        """Returns its argument, to see that it arrives."""
        return self._work(pool)

    def capture_end(self) -> object:
        """The end of a capture."""
        return self._work(None)

    def replay(self) -> object:
        """A replay."""
        return self._work("replayed")

    def _work(self, result: object) -> object:
        if self.fails:
            raise RuntimeError("out of memory")
        return result


class Watched:
    """A watch with a window that opens and closes."""

    def __init__(self) -> None:
        self.is_open = True
        self.before: list[str] = []
        self.undo: list[Callable[[], None]] = []
        self.watch = GraphWatch(
            lambda: self.is_open, lambda: self.before.append("capture"), lambda: self.before.append("replay")
        )
        self.watch.begin(self.undo)

    def take(self) -> list[tuple[bool, int]]:
        """Whether it is a capture, and the graph's number, of each mark."""
        marks = self.watch.take()
        assert all(0 < mark.start_ns <= mark.end_ns for mark in marks)
        return [(mark.is_capture, mark.number) for mark in marks]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    found = Watched()
    yield found
    while found.undo:
        found.undo.pop()()


def _captured() -> Graph:
    graph = Graph()
    assert graph.capture_begin(pool=7) == 7
    graph.capture_end()
    return graph


def test_each_capture_and_its_replays_have_one_number(watched: Watched) -> None:
    first, second = _captured(), _captured()
    assert second.replay() == "replayed"
    first.replay()
    assert watched.take() == [(True, 1), (True, 2), (False, 2), (False, 1)]
    assert watched.before == ["capture", "capture", "replay", "replay"]
    first.replay()
    first.capture_begin()
    first.capture_end()
    first.replay()
    assert watched.take() == [(False, 1), (True, 3), (False, 3)]


def test_a_capture_that_no_window_held_as_a_whole_is_not_noted(watched: Watched) -> None:
    graph = Graph()
    graph.capture_begin()
    assert watched.take() == []  # another window from here on
    graph.capture_end()
    watched.is_open = False
    late = Graph()
    late.capture_begin()
    watched.is_open = True
    late.capture_end()
    graph.replay()
    late.replay()
    assert watched.take() == [(False, 1), (False, 2)]  # which graph it was is known all the same
    watched.is_open = False
    _captured().replay()
    assert watched.take() == []


def test_what_fails_is_not_noted_and_the_error_is_the_programs(watched: Watched) -> None:
    graph = _captured()
    graph.fails = True
    for call in (graph.replay, graph.capture_begin, graph.capture_end):
        with pytest.raises(RuntimeError, match="out of memory"):
            call()
        assert not watched.watch.is_capturing
    assert watched.take() == [(True, 1)]


def test_a_capture_under_way_is_known_until_it_ends_or_its_graph_goes(watched: Watched) -> None:
    graph = Graph()
    graph.capture_begin()
    seen = [watched.watch.is_capturing]
    graph.capture_end()
    seen.append(watched.watch.is_capturing)
    given_up = Graph()
    given_up.capture_begin()
    seen.append(watched.watch.is_capturing)
    del given_up
    gc.collect()
    seen.append(watched.watch.is_capturing)
    assert seen == [True, False, True, False]


def test_afterwards_the_class_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(vars(Graph))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    watched = Watched()
    assert dict(vars(Graph)) != before
    while watched.undo:
        watched.undo.pop()()
    assert dict(vars(Graph)) == before
