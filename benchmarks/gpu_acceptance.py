"""``python -m benchmarks.gpu_acceptance``: checks and measures all that needs an NVIDIA GPU, in less than 8 minutes.

Needs no network. Writes a JSON result and a Markdown table. Exit status: 0 all bars are kept, 1 some are not, 2 there
is no GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import gpu_checks as checks
from benchmarks.gpu_checks import Check
from benchmarks.results import BenchmarkError
from benchmarks.session import deepseek_prof

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).resolve().parent / "programs"
BUDGET_S = 450.0
_MEMORY_S = (20.0, 300.0)
"""Of watching memory: at least, and at most."""
_COUNTED_STEPS = 20
_TOTALS = """
    SELECT count(*) AS kernels, sum(dur_ns) AS kernel_total_ns,
        sum(dur_ns) FILTER (layer IS NOT NULL AND phase IN ('forward', 'backward')) AS in_layer_ns,
        sum(dur_ns) FILTER (phase IN ('forward', 'backward')) AS model_ns, count(DISTINCT step) AS steps
    FROM spans WHERE kind = 'kernel' AND step >= ? AND step < ?
"""


@dataclass
class Bench:
    """A folder for results, and the time that is left."""

    folder: Path
    ends_s: float

    def left_s(self) -> float:
        """Seconds that are left."""
        return self.ends_s - time.monotonic()

    def program(self, name: str, *arguments: str, recorder: Sequence[str] = ()) -> Any:
        """Run a program to its end and return its result. Raises BenchmarkError."""
        result = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.json"
        words = [*recorder, *([] if recorder else [sys.executable]), str(PROGRAMS / f"{name}.py")]
        words += [*arguments, "--result", str(result)]
        self.command(words)
        return json.loads(result.read_text(encoding="utf-8"))

    def command(self, words: Sequence[str]) -> str:
        """Run a command to its end and return its output. Raises BenchmarkError."""
        try:
            done = subprocess.run(
                words, cwd=ROOT, capture_output=True, text=True, timeout=max(self.left_s(), 30.0), check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"out of time after {error.timeout:.0f} s: {' '.join(words[:6])}") from error
        if done.returncode:
            tail = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise BenchmarkError(f"exit status {done.returncode}: {' / '.join(tail)}")
        return done.stdout


def overhead(bench: Bench, model: str, *, compiled: bool) -> list[Check]:
    """Bare, full, light and torch.profiler, interleaved."""
    name = _name(model, compiled=compiled)
    rounds = bench.program("gpu_training", "blocks", "--model", model, *_compile(compiled), "--rounds", "5")["rounds"]
    light = checks.ratio_check(f"{name}: light mode", rounds, "light", checks.LIGHT_RATIO)
    if model == "small":
        return [checks.added_check(f"{name}: full kernel recording", rounds), light]
    return [
        checks.ratio_check(f"{name}: full kernel recording", rounds, "full", checks.FULL_RATIO),
        checks.ratio_check(f"{name}: default", rounds, "auto", checks.FULL_RATIO),
        light,
    ]


def attribution(bench: Bench, *, compiled: bool) -> list[Check]:
    """Kernels of a recorded run against torch.profiler's, and their layers."""
    name = _name("bert", compiled=compiled)
    run_dir = bench.folder / f"run-{'compiled' if compiled else 'eager'}"
    steps = ("--steps", str(_COUNTED_STEPS), "--seconds", "0", *_compile(compiled))
    recorder = (*deepseek_prof(), "run", "--quiet", "--cuda", "kernels", "--output", str(run_dir))
    told = bench.program("gpu_training", "steps", *steps, recorder=recorder)
    theirs = bench.program("gpu_training", "profiled", "--steps", str(_COUNTED_STEPS), *_compile(compiled))
    ours = run_totals(run_dir, int(told["warm_up_steps"]), int(told["warm_up_steps"]) + int(told["steps"]))
    limit = checks.COMPILED_LAYER_SHARE if compiled else checks.EAGER_LAYER_SHARE
    return [*checks.totals_checks(name, ours, theirs), checks.layer_check(name, ours, limit)]


def run_totals(run_dir: Path, first: int, end: int) -> dict[str, float]:
    """Kernels and their time of the steps ``first`` to ``end`` of a run: a step, and in all. Raises BenchmarkError."""
    from deepseek_prof.trace.run import Run

    with Run.open(run_dir) as run:
        (row,) = run.table(_TOTALS, [first, end]).to_pylist()
    if not row["steps"]:
        raise BenchmarkError(f"{run_dir.name} holds no kernel of the steps {first} to {end - 1}")
    found = {key: float(value or 0) for key, value in row.items()}
    # Steps without a kernel are missing ones: the sum is over all that ran.
    steps = end - first
    return {**found, "kernels": found["kernels"] / steps, "kernel_ns": found["kernel_total_ns"] / steps}


def memory(bench: Bench) -> list[Check]:
    """Resident size of a long recorded run; as long as the time that is left allows."""
    seconds = min(max(bench.left_s() - 60, _MEMORY_S[0]), _MEMORY_S[1])
    recorder = (*deepseek_prof(), "run", "--quiet", "--cuda", "kernels", "--output", str(bench.folder / "run-long"))
    arguments = ("steps", "--model", "small", "--steps", "100", "--seconds", f"{seconds:.0f}")
    told = bench.program("gpu_training", *arguments, recorder=recorder)
    return [checks.memory_check("small model: host memory under full kernel recording", told["resident"])]


def conv_pool(bench: Bench) -> list[Check]:
    """The fused Triton kernel."""
    return checks.conv_pool_checks(bench.program("gpu_conv_pool"))


def gpu_tests(bench: Bench) -> list[Check]:
    """The tests that need a GPU."""
    words = [str(Path(sys.executable).with_name("pytest")), "-q", "-m", "gpu"]
    folders = ("tests/gpu", "tests/optimizer/test_conv_pool.py")
    summary = bench.command([*words, *folders]).strip().splitlines()[-1]
    return [
        Check("tests that need a GPU", "all pass", summary.strip("= "), "passed" in summary and "failed" not in summary)
    ]


def nvml(bench: Bench) -> list[Check]:
    """What NVML tells of this GPU."""
    bar = "utilisation, power, temperature, memory"
    try:
        pynvml = import_module("pynvml")
    except ImportError:
        return [checks.missing("device metrics", bar, "nvidia-ml-py is not installed")]
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        used = pynvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20
        watts = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
        busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
        heat = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
    except pynvml.NVMLError as error:
        return [checks.missing("device metrics", bar, f"NVML: {error}")]
    return [Check("device metrics", bar, f"{busy} % busy, {watts:.0f} W, {heat} °C, {used:.0f} MiB", True)]


STAGES: tuple[tuple[str, Callable[[Bench], list[Check]]], ...] = (
    ("kernels of eager BERT-base", lambda bench: attribution(bench, compiled=False)),
    ("overhead on eager BERT-base", lambda bench: overhead(bench, "bert", compiled=False)),
    ("overhead on a small model", lambda bench: overhead(bench, "small", compiled=False)),
    ("kernels of compiled BERT-base", lambda bench: attribution(bench, compiled=True)),
    ("overhead on compiled BERT-base", lambda bench: overhead(bench, "bert", compiled=True)),
    ("fused convolution and pooling", conv_pool),
    ("device metrics", nvml),
    ("tests", gpu_tests),
    ("host memory", memory),
)
"""In the order of their worth: what the time does not suffice for is at the end."""


def run_stages(bench: Bench, stages: Sequence[tuple[str, Callable[[Bench], list[Check]]]]) -> list[Check]:
    """All checks. A stage that fails is a line that says so, and the next one runs."""
    found: list[Check] = []
    for name, stage in stages:
        if bench.left_s() < 0:
            found.append(checks.missing(name, "", "no time was left"))
            continue
        print(f"gpu_acceptance: {name}, {bench.left_s():.0f} s left", file=sys.stderr)
        try:
            found += stage(bench)
        except Exception as error:  # noqa: BLE001  # whatever it was, the other figures are wanted too
            found.append(Check(name, "runs", "failed", False, f"{type(error).__name__}: {error}"))
    return found


def find_gpu() -> str | None:
    """The name of the first CUDA device, or None."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_acceptance", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("gpu-acceptance.json"), help="default: %(default)s")
    parser.add_argument("--markdown", type=Path, default=Path("gpu-acceptance.md"), help="default: %(default)s")
    parser.add_argument("--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="default: %(default)s")
    arguments = parser.parse_args(argv)
    begin_s = time.monotonic()
    gpu = find_gpu()
    if gpu is None:
        print("gpu_acceptance: torch finds no CUDA device here: nothing was measured.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="gpu-acceptance-") as folder:
        found = run_stages(Bench(Path(folder), begin_s + arguments.budget), STAGES)
    write_results(arguments.json, arguments.markdown, gpu, found, time.monotonic() - begin_s)
    print(arguments.markdown.read_text(encoding="utf-8"))
    return 1 if any(each.passed is False for each in found) else 0


def write_results(json_path: Path, markdown_path: Path, gpu: str, found: Sequence[Check], took_s: float) -> None:
    """Write both files."""
    import torch

    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, {took_s:.0f} s in all."
    content = {
        "gpu": gpu,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "took_s": took_s,
        "checks": [asdict(each) for each in found],
    }
    json_path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    markdown_path.write_text(checks.markdown(gpu, versions, found), encoding="utf-8")


def _name(model: str, *, compiled: bool) -> str:
    kind = "BERT-base bf16" if model == "bert" else "small model"
    return f"{kind}, {'compiled' if compiled else 'eager'}"


def _compile(compiled: bool) -> tuple[str, ...]:
    return ("--compile",) if compiled else ()


if __name__ == "__main__":
    sys.exit(main())
