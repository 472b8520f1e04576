"""The hand-over: loaded by a plain Python process, it gives eager's results; nothing that does not is left there."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from deepseek_prof.errors import OutputError
from deepseek_prof.narration import Narrator
from deepseek_prof.optimizer.applied_file import source
from deepseek_prof.optimizer.attaching import SEED
from deepseek_prof.optimizer.candidate import Target
from deepseek_prof.optimizer.delivery import deliver
from deepseek_prof.optimizer.measure import Measurer
from deepseek_prof.optimizer.optimize import OptimizeSettings, optimize_program
from deepseek_prof.optimizer.passes import config_from, handler
from deepseek_prof.optimizer.results import CandidateResult
from deepseek_prof.optimizer.search import Search
from deepseek_prof.recording.command import resolve_command
from tests.support.optimizing import apply, captured, convolutional, fresh_compiler, positional, sqnr_db
from tests.support.recording import cli_command, environment, run_words

PROGRAM = Path(__file__).parent / "programs" / "odd_models.py"
AS_A_USER = """
import json, sys, torch
folder, program = sys.argv[1:]
sys.path[:0] = [folder, program]
import odd_models
from applied import apply
torch.manual_seed({seed})
model = odd_models.Convolutions().eval()
with torch.no_grad():
    image = torch.randn(1, 3, 24, 24)
    eager = model(image)
    package = torch._inductor.aoti_load_package(folder + "/applied-1.pt2")
    print(json.dumps({{
        "package": (package(image) - eager).abs().max().item(),
        "file": (apply(model)(image) - eager).abs().max().item(),
        "normalizations": sum(isinstance(each, torch.nn.BatchNorm2d) for each in model.modules()),
        "ours": [name for name in sys.modules if name.startswith("deepseek_prof")],
    }}))
"""


def row(*names: str, code: tuple[str, ...] = ()) -> CandidateResult:
    return CandidateResult(names, tuple({} for _ in names), "failed", None, 1.0, code=code)


@pytest.fixture
def measurer() -> Iterator[Measurer]:
    # The first call alone: one signature, and one package.
    target = Target(
        (sys.executable, str(PROGRAM), "Convolutions"), "Convolutions", 0, False,
        environment=(("OMP_NUM_THREADS", "1"),),
    )  # fmt: skip
    made = Measurer(target, 300.0)
    yield made
    made.end_eager()


def test_file_and_package_give_eager_s_results_in_a_plain_process(measurer: Measurer, tmp_path: Path) -> None:
    wanted = replace(row("fold", "fuse"), options=({}, {"freezing": True}))
    proved = measurer.measure(wanted, 5, 300.0)
    assert proved.speedup is not None, proved.reason
    assert proved.compiles
    path = tmp_path / "applied.py"
    made = deliver(measurer, proved, [proved], ("measured in a test",), path, Narrator(quiet=True))
    assert made.packages == (str(tmp_path / "applied-1.pt2"),), made.no_package
    assert made.package_check is not None
    for check in (made.check, made.package_check):
        assert check.interval[0] <= check.speedup <= check.interval[1]
        assert check.sqnr_db is None or check.sqnr_db > 90
    script = tmp_path / "use.py"
    script.write_text(AS_A_USER.format(seed=SEED))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(PROGRAM.parent)],
        env=environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["package"] < 1e-5
    assert told["file"] < 1e-5
    assert (told["normalizations"], told["ours"]) == (0, [])


@pytest.mark.parametrize(
    ("code", "reason"), [("model.conv.weight.data.mul_(2)", "not those of the candidate"), ("1 / 0", "ZeroDivision")]
)
def test_what_is_not_what_was_measured_is_not_left_there(
    code: str, reason: str, measurer: Measurer, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=reason):
        deliver(measurer, row("layout", code=(code,)), [], (), tmp_path / "applied.py", Narrator(quiet=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [("fold", "layout"), ("fold", "layout", "amp"), ("quantize",)])
def test_the_file_does_what_the_passes_do(names: tuple[str, ...], tmp_path: Path) -> None:
    with fresh_compiler(), torch.no_grad():
        values = torch.randn(2, 3, 32, 32)
        module, again = convolutional(), convolutional()
        again.load_state_dict(module.state_dict())
        callee: Any = module
        code = []
        for name in names:
            config = config_from(name, {})
            applied = handler(name).apply(config, callee, captured(module, positional(values)))
            callee = applied.call
            code.append(handler(name).code(applied.config or config))
        expected = callee(values)
        torch._dynamo.reset()
        path = tmp_path / "applied.py"
        path.write_text(source("Sequential", row(*names, code=tuple(code)), [], ()))
        changed = runpy.run_path(str(path))["apply"](again, [((values,), {})])
        assert sqnr_db(expected, changed(values)) > 60
        assert expected.dtype == changed(values).dtype


def test_kept_layers_and_what_each_pass_bought_are_comments() -> None:
    alone = replace(row("layout"), speedup=1.5, interval=(1.4, 1.6), status="win")
    whole = replace(row("layout", code=("model = model",)), kept_in_float=("head.0",))
    text = source("Net", whole, [alone], ("Measured on Net.",))
    assert "# Measured on Net.\n# Kept in float: head.0\n" in text
    assert "# By itself 1.50 x, 95 % interval 1.40 to 1.60: win.\ndef layout(" in text


def test_names_of_the_program_are_no_code() -> None:
    name = 'Net"""\nimport os\nos.abort()\n"""\\'
    text = source(name, replace(row("layout", code=("pass",)), kept_in_float=(name,)), [], (name,))
    names: dict[str, Any] = {}
    exec(compile(text, "applied.py", "exec"), names)
    assert callable(names["apply"])
    assert "os" not in names


def test_channels_last_moves_weights_and_inputs() -> None:
    class Sees(nn.Conv2d):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            assert values.is_contiguous(memory_format=torch.channels_last)
            return super().forward(values)

    names: dict[str, Any] = {"torch": torch, "model": Sees(3, 8, 3).eval()}
    exec(handler("layout").code(None), names)
    names["model"](torch.randn(2, 3, 8, 8))
    apply("layout", config_from("layout", {}), captured(Sees(3, 8, 3).eval(), positional(torch.ones(1, 3, 8, 8))))


def test_what_goes_wrong_in_the_hand_over_does_not_cost_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there is a winner is not for a test to decide, so the search's answer is given."""
    won = replace(row("fold", code=("1 / 0",)), status="win", confirmed=True, speedup=2.0, interval=(1.9, 2.1))

    def found(search: Search, _: object) -> None:
        search.rows[("fold",)] = won

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Search, "run", found)
    command = resolve_command([str(PROGRAM), "Convolutions"])
    result = optimize_program(command, OptimizeSettings(apply=tmp_path / "out.py"), Narrator(quiet=True))
    assert result.winner == won
    assert result.handover is None
    assert "ZeroDivisionError" in str(result.not_applied)
    assert not (tmp_path / "out.py").exists()


@pytest.mark.parametrize(("option", "name"), [("--apply", "out.py"), ("--apply", "out-1.pt2"), ("--html", "out.html")])
def test_a_file_that_exists_is_not_replaced(option: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    asked = name.replace("-1.pt2", ".py")
    done = run_words(cli_command("optimize", option, asked, str(PROGRAM), "Convolutions"), cwd=tmp_path)
    assert done.returncode != 0
    assert b"exists already" in done.stderr
    assert (tmp_path / name).read_text() == "mine"
    assert not (tmp_path / ".deepseek-prof").exists()


def test_what_cannot_be_exported_has_a_file_and_a_reason_for_no_package(tmp_path: Path) -> None:
    target = Target(
        (sys.executable, str(PROGRAM), "Unexportable"), "Unexportable", 0, False,
        environment=(("OMP_NUM_THREADS", "1"),),
    )  # fmt: skip
    measurer = Measurer(target, 300.0)
    fused = row("fuse", code=("model = torch.compile(model)",))
    compiled = replace(fused, options=({"freezing": True},), compiles=True)
    try:
        made = deliver(measurer, compiled, [], (), tmp_path / "applied.py", Narrator(quiet=True))
    finally:
        measurer.end_eager()
    assert made.packages == ()
    assert made.package_check is None
    assert made.no_package
    assert [each.name for each in tmp_path.iterdir()] == ["applied.py"]
