"""``deepseek-prof optimize --mode training`` on programs as they are."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tests.support.optimizing import interrupted
from tests.support.recording import cli_command, run_words

PROGRAM = Path(__file__).parent / "programs" / "trainings.py"
WORDS = ("optimize", "--mode", "training", "--format", "json")


def test_json_holds_the_proof_of_a_training(tmp_path: Path) -> None:
    words = cli_command(*WORDS, "--passes", "optimizer,dataloader", "--budget", "10min", str(PROGRAM), "Tensors")
    result = run_words(words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()
    proof = json.loads(result.stdout)
    assert (proof["root"], proof["mode"]) == ("Net", "training")
    assert Path(proof["profile"], "run.json").exists()
    by_pass = {row["passes"][0]: row for row in proof["candidates"]}
    fused = by_pass["optimizer"]
    assert fused["status"] in ("win", "inconclusive", "slower"), fused["reason"]
    assert len(fused["numerics"]["losses"]) == len(fused["numerics"]["baseline_losses"]) == fused["numerics"]["steps"]
    assert fused["numerics"]["losses"] == pytest.approx(fused["numerics"]["baseline_losses"], rel=1e-4)
    recorded = json.loads(Path(proof["profile"], "run.json").read_text())
    assert fused["predicted"] > 1, {key: recorded.get(key) for key in ("processes", "dropped", "warnings")}
    assert by_pass["dataloader"]["status"] == "refused"
    assert proof["winner"] is None or proof["winner"]["interval"][0] > proof["winner"]["control"][1]


def test_a_training_is_recognized_and_shown(tmp_path: Path) -> None:
    result = run_words(cli_command("optimize", "--passes", "optimizer", str(PROGRAM), "RMSprop"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr.decode()
    assert b"Net in training on cpu" in result.stdout
    assert b"optimizer: refused" in result.stdout
    assert b"RMSprop has no fused form" in result.stdout


@pytest.mark.parametrize(
    ("code", "words", "message"),
    [
        ("for _ in range(9): m(x).sum()", (), "no optimizer made two steps"),
        (
            "for _ in range(9):\n    m(x)\n    for p in m.parameters(): p.grad = torch.zeros_like(p)\n    o.step()",
            (), "without a backward pass",
        ),
        ("for _ in range(9):\n    o.zero_grad()\n    m(x).sum().backward()\n    o.step()", (), "at least 11"),
        (
            "for _ in range(30):\n    o.zero_grad()\n    m(x).sum().backward()\n    o.step()",
            ("--metric", "a:b"), "--metric is for inference",
        ),
    ],
)  # fmt: skip
def test_a_program_that_does_not_train_enough_is_told_why(
    code: str, words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text(
        "import torch\n"
        "m = torch.nn.Linear(4, 4)\n"
        "x = torch.ones(2, 4)\n"
        f"o = torch.optim.SGD(m.parameters(), lr=0.01)\n{code}\n"
    )
    result = run_words(cli_command(*WORDS, *words, "train.py"), cwd=tmp_path)
    assert result.returncode == 2, result.stderr.decode()
    assert message in " ".join(result.stderr.decode().split())


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_process(tmp_path: Path) -> None:
    words = cli_command(*WORDS, "--passes", "optimizer,threads,layout", str(PROGRAM), "AdamW")
    returncode, proof = interrupted(words, tmp_path, (b"optimizer: ", b"layout: ", b"threads"))
    assert returncode == 130
    assert proof["ended_by"] == "interrupt"
    assert len(proof["candidates"]) >= 1
    left = [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(tmp_path)]
    assert not [each.cmdline() for each in left if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
