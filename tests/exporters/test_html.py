"""The HTML report: what it says, that it holds everything it needs, and that names in it stay names."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from deepseek_prof.analysis.findings import find
from deepseek_prof.analysis.report_text import notes
from deepseek_prof.analysis.summary import summarize
from deepseek_prof.analysis.top import top
from deepseek_prof.analysis.verdict import judge
from deepseek_prof.errors import UsageError
from deepseek_prof.exporters import registry
from deepseek_prof.exporters.html import HtmlExporter
from deepseek_prof.importing.importer import import_traces
from deepseek_prof.query import compile_query
from deepseek_prof.text import clean, duration
from tests.support.chrome_trace import one_training_step, write_trace
from tests.support.drawn import op, write_drawn_run
from tests.support.hostile import HOSTILE_NAMES, write_hostile_run
from tests.support.html_page import Element, flame_of, parsed, rows_of, written
from tests.support.recording import open_run, run_cli
from tests.support.synthetic import write_synthetic_run


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of 40 steps, with warm-up and one slow step."""
    return write_synthetic_run(tmp_path_factory.mktemp("html") / "run", steps=40, layers=3, slow={30: 9.0}).path


@pytest.fixture(scope="module")
def page(training: Path) -> Element:
    """The training's report."""
    return parsed(written(training))


def test_it_is_an_installed_format() -> None:
    assert isinstance(registry.load("html"), HtmlExporter)


def test_it_says_what_the_terminal_says(training: Path, page: Element) -> None:
    with open_run(training) as run:
        summary = summarize(run)
        verdict, findings, said = judge(summary), find(run, summary), notes(run, summary)
    texts = [text.replace("`", "") for text in (verdict.headline, verdict.why, verdict.next)]
    assert all(text in page.by_id("verdict").text for text in texts)
    assert findings
    shown = page.by_id("findings")
    assert [each.text for each in shown.all("h3")] == [finding.title for finding in findings]
    for finding in findings:
        assert all(text in shown.text for text in (*finding.evidence, finding.advice))
    assert [each.text for each in page.by_id("notes").all("dt")] == [name for name, _ in said]
    assert [each.text for each in page.by_id("notes").all("dd")] == [text for _, text in said]
    assert summary.steps is not None
    for ns in (summary.steps.median_ns, summary.steps.p90_ns, summary.steps.p99_ns):
        assert duration(ns) in page.all("dl", "figures")[0].text


def test_the_run_is_described_without_naming_the_machine(page: Element) -> None:
    described = page.by_id("run").text
    assert "python train.py" in described
    assert "Linux-6.1-x86_64, 8 CPUs, 32.0 GiB of memory" in described
    assert "torch 2.13.0+cpu, Python 3.12.3" in described
    assert "host\n" not in described
    assert "/home/user" not in page.text


@pytest.mark.parametrize(("table", "by"), [("operators", "op"), ("types", "type"), ("layers", "layer")])
def test_tables_hold_the_figures_of_top(training: Path, page: Element, table: str, by: str) -> None:
    with open_run(training) as run:
        window = summarize(run).window
        assert window.steps is not None
        expected = top(run, by, compile_query(f"step:{window.steps[0]}..{window.steps[1]}"), limit=None)
    shown = rows_of(page, table)
    assert set(shown) == {row.name for row in expected.rows}
    for row in expected.rows:
        own, _, total, forward, backward, calls, *_ = shown[row.name]
        times = (row.self_ns, row.total_ns, row.forward_ns, row.backward_ns)
        assert (own, total, forward, backward) == tuple(round(ns / window.step_count) for ns in times)
        assert calls == row.count / window.step_count


def test_layers_stand_below_the_layer_that_calls_them(page: Element) -> None:
    around: list[str] = []
    for row in page.by_id("layers").all("tbody")[0].all("tr"):
        name, depth = row.all("th")[0].attributes["title"], int(row.attributes["data-depth"])
        del around[depth:]
        if depth > 1:
            assert name.startswith(f"{around[-1]}.")
        around.append(name)
    assert "encoder.2.attention.qkv" in rows_of(page, "layers")


def test_flame_graphs_cover_the_spans_of_the_tables(training: Path, page: Element) -> None:
    with open_run(training) as run:
        summary = summarize(run)
    data = flame_of(page)
    layers = data["profiles"][0]
    assert layers["whole"] == summary.self_ns
    assert sum(total for depth, total in zip(layers["depth"], layers["total"], strict=True) if depth == 0) == (
        summary.self_ns
    )
    assert data["perStep"] == summary.window.step_count
    assert {"forward", "encoder.0.attention", "aten::addmm"} <= {data["texts"][index] for index in layers["name"]}


def test_steps_without_warmup_are_charted(tmp_path: Path) -> None:
    run = write_drawn_run(tmp_path / "run", lambda rank, step: [op("aten::mm", 700 + step)], steps=3)
    steps = parsed(written(run)).by_id("steps")
    titles = [each.text for each in steps.all("title")]
    assert titles == ["step 0: 700 ns", "step 1: 701 ns", "step 2: 702 ns"]
    assert [each.text for each in steps.all("h2")] == ["Steps 3 recorded"]


def test_accelerators_have_tables_and_flame_graphs(tmp_path: Path) -> None:
    import_traces([write_trace(tmp_path / "trace.json", one_training_step())], tmp_path / "run")
    page = parsed(written(tmp_path / "run"))
    assert "cuda:0 busy 45 % of the time, 447 µs: kernels 440 µs, copies 7.00 µs" in page.by_id("accelerators").text
    assert {name: figures[0] for name, figures in rows_of(page, "kernels").items()} == {
        "gemm_kernel": 400_000,
        "relu_kernel": 40_000,
        "Memcpy DtoD (Device -> Device)": 7_000,
    }
    assert [figures[-1] for figures in rows_of(page, "layers").values()] == [447_000, 407_000, 40_000]
    totals = {profile["title"]: profile["whole"] for profile in flame_of(page)["profiles"]}
    assert totals["layers · accelerator time"] == totals["kernels by type · accelerator time"] == 447_000
    assert totals["layers · host time"] == 600_000


def test_the_command_writes_the_page(training: Path, tmp_path: Path) -> None:
    done = run_cli("export", "html", str(training), "type:conv or type:matmul", "-o", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    page = parsed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert set(rows_of(page, "types")) == {"matmul"}


def test_a_query_is_shown_and_obeyed(training: Path) -> None:
    page = parsed(written(training, "type:matmul phase:backward"))
    assert page.all("header")[0].all("code")[0].text == "type:matmul phase:backward"
    assert set(rows_of(page, "types")) == {"matmul"}
    assert all(figures[3] == 0 for figures in rows_of(page, "operators").values())
    assert not page.all("section", "verdict")
    assert "findings" not in [each.attributes.get("id") for each in page.all("section")]


def test_a_query_that_selects_nothing_is_refused(training: Path) -> None:
    with pytest.raises(UsageError, match="no span matches 'op:nowhere'"):
        written(training, "op:nowhere")


def test_runs_without_steps_layers_or_operators_have_a_page(tmp_path: Path) -> None:
    bare = write_drawn_run(tmp_path / "bare", lambda rank, step: [op("aten::mm", 700)], with_steps=False)
    page = parsed(written(bare))
    assert "None found: no optimizer step" in page.by_id("steps").text
    assert rows_of(page, "operators")["aten::mm"][0] == 700
    assert "None: no module was called" in page.by_id("by-layer").text
    empty = parsed(written(write_drawn_run(tmp_path / "empty", with_steps=False)))
    assert "no PyTorch operator was recorded" in empty.by_id("verdict").text
    assert not empty.all("table")


@pytest.mark.parametrize("query", ["", '"</script>" or op:*'])
def test_hostile_names_are_shown_and_nothing_else(tmp_path: Path, query: str) -> None:
    text = written(write_hostile_run(tmp_path / "run"), query)
    page = parsed(text)
    assert [each.attributes.get("type", "") for each in page.all("script")] == ["application/json", ""]
    assert len(page.all("style")) == 1
    assert not page.all("img")
    assert {char for char in text if not char.isprintable()} == {"\n"}
    names = {clean(name, 160) for name in HOSTILE_NAMES}
    assert set(rows_of(page, "operators")) == names
    assert set(rows_of(page, "layers")) == names
    assert {clean(name, 200) for name in HOSTILE_NAMES} <= set(flame_of(page)["texts"])
    handlers = [name for each in page.everything() for name in each.attributes if name.startswith("on")]
    assert handlers == []


def test_it_asks_no_server_and_runs_its_own_script_only(training: Path) -> None:
    page = parsed(written(training))
    policy = next(each for each in page.all("meta") if "http-equiv" in each.attributes).attributes["content"]
    script = page.all("script")[-1].text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'; " in policy
    places = [
        (each.tag, each.attributes[name])
        for each in page.everything()
        for name in ("src", "href", "action", "data", "srcset")
        if name in each.attributes
    ]
    assert places == [("link", "data:,")]
    style = page.all("style")[0].text
    assert not re.search(r"url\(|@import", style)


def test_a_large_model_makes_a_small_page(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", steps=5, layers=200)
    text = written(run.path)
    assert len(text.encode()) < 1_500_000
    assert len(rows_of(parsed(text), "layers")) == 1500
