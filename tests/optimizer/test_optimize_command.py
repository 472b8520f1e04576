"""``deepseek-prof optimize`` on programs as they are."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

import deepseek_prof
from deepseek_prof.cli.optimize import parse_time
from deepseek_prof.errors import UsageError
from tests.support.optimizing import interrupted
from tests.support.recording import cli_command, run_words

PROGRAM = Path(__file__).parent / "programs" / "odd_models.py"


def test_json_holds_the_proof(tmp_path: Path) -> None:
    words = ["optimize", "--passes", "fold,channels_last", "--format", "json", str(PROGRAM), "Convolutions"]
    result = run_words(cli_command(*words), cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()
    proof = json.loads(result.stdout)
    assert (proof["root"], proof["mode"], proof["complete"]) == ("Convolutions", "inference", True)
    assert len(proof["signatures"]) == 2
    assert Path(proof["profile"], "run.json").exists()
    assert proof["baseline"]["median_ns"] > 0
    tried = {tuple(row["passes"]) for row in proof["candidates"]}
    assert {("fold",), ("layout",)} <= tried
    for row in proof["candidates"]:
        if row["speedup"] is not None:
            assert row["interval"][0] <= row["speedup"] <= row["interval"][1]
            assert row["numerics"]["reference"] == "float64"
    assert proof["winner"] is None or proof["winner"] in proof["candidates"]
    assert proof["winner"] is None or proof["winner"]["interval"][0] > proof["winner"]["control"][1]


def test_the_table_names_what_did_not_work(tmp_path: Path) -> None:
    result = run_words(cli_command("optimize", "--passes", "layout", str(PROGRAM), "KilledWhenMoved"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()
    assert b"No pass is proven" in result.stdout
    assert b"layout: failed" in result.stdout
    assert b"SIGKILL" in result.stdout


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    words = cli_command("optimize", "--passes", "fold,layout", "--format", "json", str(PROGRAM), "Convolutions")
    returncode, proof = interrupted(words, tmp_path, (b"fold: ", b"layout: "))
    assert returncode == 130
    assert (proof["complete"], proof["ended_by"]) == (False, "interrupt")
    assert len(proof["candidates"]) >= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Say what to optimize"),
        (["--passes", "magic", "x.py"], "No script"),
        (["--passes", "magic", str(PROGRAM), "Convolutions"], "No pass 'magic'"),
        (["--budget", "soon", str(PROGRAM)], "is not a time"),
        (["--format", "yaml", str(PROGRAM)], "not one of"),
        (["--mode", "fast", str(PROGRAM)], "not one of"),
        (["--metric", "accuracy", str(PROGRAM)], "module:function"),
        (["--model", "module"], "module:factory"),
    ],
)
def test_what_does_not_fit_is_said(words: list[str], message: str, tmp_path: Path) -> None:
    result = run_words(cli_command("optimize", *words), cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr.decode()


def test_options_behind_the_program_are_told_to_be_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    words = ["--passes", "magic", "train.py", "--mode=training", "--epochs", "2", "--html", "x"]
    said = run_words(cli_command("optimize", *words), cwd=tmp_path).stderr.decode()
    assert "the program gets --mode=training --html: options of deepseek-prof stand before" in " ".join(said.split())


def test_a_factory_and_a_metric(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).eval(), "
        "torch.ones(1, 3, 8, 8)\n"
        "def accuracy(model):\n"
        "    return 1.0 if 'ChannelsLast' not in type(model).__name__ else 0.5\n"
    )
    words = ["optimize", "--model", "mine:make", "--passes", "layout", "--metric", "mine:accuracy", "--format", "json"]
    result = run_words(cli_command(*words), cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()
    (row,) = json.loads(result.stdout)["candidates"]
    assert (row["status"], row["loss"]) == ("inaccurate", 0.5)
    assert "by the metric" in row["reason"]


def test_a_metric_that_is_no_number_is_no_proof(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Conv2d(3, 8, 3).eval(), torch.ones(1, 3, 8, 8)\n"
        "def accuracy(model):\n"
        "    return float('nan') if 'ChannelsLast' in type(model).__name__ else 1.0\n"
    )
    words = ["optimize", "--model", "mine:make", "--passes", "layout", "--metric", "mine:accuracy", "--format", "json"]
    result = run_words(cli_command(*words), cwd=tmp_path)
    (row,) = json.loads(result.stdout, parse_constant=pytest.fail)["candidates"]
    assert (row["status"], row["loss"]) == ("inaccurate", None)
    assert "nan" in row["reason"]


def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).eval()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    result = deepseek_prof.optimize(
        model, [torch.ones(1, 3, 8, 8), torch.ones(2, 3, 8, 8)], passes=["fold"], quiet=True
    )
    assert [row.passes for row in result.candidates] == [("fold",)]
    assert result.candidates[0].numerics is not None
    assert len(result.signatures) == 2
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_a_module_that_no_other_process_can_load_is_refused() -> None:
    class Local(torch.nn.Module):
        pass

    with pytest.raises(UsageError, match="optimize PROGRAM"):
        deepseek_prof.optimize(Local(), torch.ones(1))


def test_training_without_an_optimizer_is_refused_and_its_evaluation_found(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import torch\n"
        "m = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))\n"
        "for _ in range(6):\n"
        "    m.train()\n"
        "    m(torch.ones(4, 3, 16, 16)).sum().backward()\n"
        "    m.eval()\n"
        "    with torch.no_grad(): m(torch.ones(1, 3, 8, 8))\n"
    )
    refused = run_words(cli_command("optimize", "--mode", "training", "train.py"), cwd=tmp_path)
    assert refused.returncode == 2
    assert "no optimizer made two steps" in refused.stderr.decode()
    words = ["optimize", "--mode", "inference", "--passes", "fold", "--format", "json", "train.py"]
    result = run_words(cli_command(*words), cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()
    assert json.loads(result.stdout)["candidates"][0]["fired"] == ["1 of 1 normalizations folded"]


def test_times() -> None:
    assert [parse_time(text) for text in ("90s", "10min", "1.5 h")] == [90, 600, 5400]


def test_programs_of_these_tests_run_bare() -> None:
    result = run_words([sys.executable, str(PROGRAM), "Mutates"], env=dict(os.environ))
    assert result.returncode == 0, result.stderr.decode()
