"""Log records by number are those of the whole stream, wherever a page begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepseek_prof.analysis import log_pages
from deepseek_prof.analysis.log_pages import LogPages
from deepseek_prof.analysis.logs import Selection, records
from deepseek_prof.query import Table, compile_tree, parse
from deepseek_prof.trace.run import Run
from tests.support.drawn import write_drawn_run
from tests.support.synthetic import EPOCH_NS, write_synthetic_run


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_synthetic_run(tmp_path_factory.mktemp("runs") / "run", steps=6, layers=2)
    folder = run.path / "logs" / "rank=0" / "pid=4200"
    folder.mkdir(parents=True)
    lines = [
        {"ts_ns": EPOCH_NS + index * 1_000_003, "level": "info", "event": "tick", "fields": {"n": index}}
        for index in range(40)
    ]
    (folder / "part-00000.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return run.path


@pytest.mark.parametrize("query", ["", "type:matmul", "event:tick", "dur>20us or level:info", "op:nothing"])
@pytest.mark.parametrize(("stretches", "full"), [(8_192, 3_000), (4, 25), (1, 3)])
def test_pages_are_pieces_of_the_whole(
    path: Path, query: str, stretches: int, full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pages, "_STRETCHES", max(2, stretches))
    monkeypatch.setattr(log_pages, "_FULL", full)
    spans, events = (compile_tree(parse(query), table) for table in (Table.SPANS, Table.LOGS))
    with Run.open(path) as run:
        whole = list(records(run, Selection(spans, events)))
        pages = LogPages(run, spans, events)
        assert len(pages) == len(whole)
        for first in (0, 1, len(whole) // 3, max(0, len(whole) - 7), len(whole)):
            found = pages.page(run, first, 60)
            assert [each.ts_ns for each in found] == [each.ts_ns for each in whole[first : first + 60]]
            assert len(found) == len(whole[first : first + 60])


def test_every_record_is_on_one_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pages, "_STRETCHES", 7)
    monkeypatch.setattr(log_pages, "_FULL", 30)
    everything = compile_tree(parse(""), Table.SPANS)
    with Run.open(path) as run:
        pages = LogPages(run, everything, everything)
        found = [each for first in range(0, len(pages), 100) for each in pages.page(run, first, 100)]
        whole = list(records(run, Selection(everything, everything)))
    assert sorted(map(repr, found)) == sorted(map(repr, whole))


def test_a_run_without_records_has_no_pages(tmp_path: Path) -> None:
    everything = compile_tree(parse(""), Table.SPANS)
    with Run.open(write_drawn_run(tmp_path / "empty", with_steps=False)) as run:
        pages = LogPages(run, everything, everything)
        assert len(pages) == 0
        assert pages.page(run, 0, 10) == []
