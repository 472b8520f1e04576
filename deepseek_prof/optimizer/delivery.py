"""Hands the winner over: a Python file, ahead-of-time packages, and the proof that both do what was measured."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deepseek_prof.errors import OutputError
from deepseek_prof.narration import Narrator
from deepseek_prof.optimizer.applied_file import source
from deepseek_prof.optimizer.applied_training_file import training_source
from deepseek_prof.optimizer.candidate import Candidate, CandidateError
from deepseek_prof.optimizer.measure import Measurer
from deepseek_prof.optimizer.results import UNUSABLE, CandidateResult, Check, HandOver
from deepseek_prof.optimizer.training_measure import TrainingMeasurer

_ROUNDS = 8
_PREPARE_S = 600.0


def package_paths(path: Path, signatures: int) -> list[Path]:
    """Where the packages beside the file ``path`` go, one for each signature."""
    return [path.with_name(f"{path.stem}-{number}.pt2") for number in range(1, signatures + 1)]


def refuse_existing(path: Path) -> None:
    """Raises OutputError where ``path`` or a package beside it is there, or its folder is not."""
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: no folder {path.parent}.")
    package = re.compile(rf"{re.escape(path.stem)}-\d+\.pt2")
    existing = [
        each for each in sorted(path.parent.iterdir()) if each.name == path.name or package.fullmatch(each.name)
    ]
    if existing:
        raise OutputError(f"{existing[0]} exists already. Name another file with --apply, or replace it with --force.")


def deliver(
    measurer: Measurer,
    row: CandidateResult,
    rows: Sequence[CandidateResult],
    facts: Sequence[str],
    path: Path,
    narrator: Narrator,
) -> HandOver:
    """Write the file that applies ``row``, and packages where it compiles; load both in fresh processes beside eager.

    What does not give eager's results within the gates is not left there.

    Raises:
        OutputError: the file cannot be written, or what it makes is not what was measured.
    """
    narrator.say(f"writing {path}, and trying it in a process of its own")
    with tempfile.TemporaryDirectory(prefix="deepseek-prof-") as folder, ExitStack() as stack:
        draft = Path(folder, "applied.py")
        draft.write_text(source(measurer.target.root, row, rows, facts), encoding="utf-8")
        try:
            applied, of_file = _loaded(measurer, stack, {"do": "apply_file", "file": str(draft)}, row)
        except CandidateError as error:
            raise OutputError(f"{path} is not written: what it would hold does not run. {error}") from error
        packages, refused = _packages(measurer, row, Path(folder), narrator)
        processes, answers = [applied], [of_file]
        if packages:
            try:
                message = {"do": "load_packages", "files": [str(each) for each in packages]}
                process, of_package = _loaded(measurer, stack, message, row)
                processes.append(process)
                answers.append(of_package)
            except CandidateError as error:
                packages, refused = [], str(error)
        checks = [
            Check(speedup.median, (speedup.low, speedup.high), answer["numerics"]["sqnr_db"])
            for speedup, answer in zip(measurer.beside_eager(processes, _ROUNDS), answers, strict=True)
        ]
        _place(draft, path)
        placed = package_paths(path, len(packages))
        for made, target in zip(packages, placed, strict=True):
            _place(made, target)
    return HandOver(str(path), checks[0], tuple(map(str, placed)), checks[1] if packages else None, refused)


def deliver_training(
    measurer: TrainingMeasurer,
    row: CandidateResult,
    rows: Sequence[CandidateResult],
    facts: Sequence[str],
    path: Path,
    narrator: Narrator,
) -> HandOver:
    """Write the file that applies ``row`` to a training, once a run of the program with it has learnt as eager does.

    Raises:
        CandidateError: eager itself does not run.
        OutputError: the file cannot be written, or what it makes is not what was measured.
    """
    narrator.say(f"writing {path}, and trying it in a run of the program")
    with tempfile.TemporaryDirectory(prefix="deepseek-prof-") as folder:
        draft = Path(folder, "applied.py")
        draft.write_text(training_source(measurer.target.root, row, rows, facts), encoding="utf-8")
        tried = measurer.measure_file(draft, row, _ROUNDS)
        if tried.status in UNUSABLE:
            raise OutputError(f"{path} is not written: what it would hold does not train as measured. {tried.reason}")
        assert tried.speedup is not None
        assert tried.interval is not None
        assert tried.numerics is not None
        check = Check(tried.speedup, tried.interval, None, tried.numerics["loss_difference"])
        _place(draft, path)
    return HandOver(str(path), check, (), None, "the weights of a training change, which a package would hold")


def _loaded(
    measurer: Measurer, stack: ExitStack, message: dict[str, Any], row: CandidateResult
) -> tuple[Candidate, dict[str, Any]]:
    """A process that runs what was handed over. Raises CandidateError, also where it is not as exact as ``row``."""
    process = stack.enter_context(Candidate(measurer.target))
    process.reach(_PREPARE_S)
    answer = process.ask({**message, "lossy": row.lossy}, _PREPARE_S)
    if answer["inaccurate"]:
        raise CandidateError(f"Its results are not those of the candidate: {answer['inaccurate']}.")
    return process, answer


def _packages(
    measurer: Measurer, row: CandidateResult, folder: Path, narrator: Narrator
) -> tuple[list[Path], str | None]:
    """The packages in ``folder``, or none and why."""
    if not row.compiles:
        return [], "none of the passes compiles"
    narrator.say("compiling ahead of time")
    paths = package_paths(folder / "package", len(measurer.signatures))
    wanted = list(zip(row.passes, row.options, strict=True))
    message = {"do": "package", "passes": wanted, "files": [str(each) for each in paths]}
    try:
        with Candidate(measurer.target) as process:
            process.reach(_PREPARE_S)
            process.ask(message, _PREPARE_S)
    except CandidateError as error:
        return [], str(error)
    return paths, None


def _place(made: Path, target: Path) -> None:
    """Put a file in its place at once. Raises OutputError."""
    fresh = target.with_name(f".{target.name}.new")
    try:
        shutil.copyfile(made, fresh)
        fresh.replace(target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise OutputError(f"{target} cannot be written: {error.strerror}") from error
