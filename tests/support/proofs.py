"""A proof made by hand: one winner with its comparison, one loser, one that failed."""

from __future__ import annotations

from typing import Any

from deepseek_prof.analysis.diff import DiffRow
from deepseek_prof.optimizer.results import CandidateResult, Check, Comparison, Figures, HandOver, Optimization


def change(name: str, before_ns: float | None, after_ns: float | None, verdict: str) -> DiffRow:
    """A row of a comparison of 20 steps with 20."""
    delta_ns = (after_ns or 0) - (before_ns or 0)
    calls = (None if before_ns is None else 1.0, None if after_ns is None else 1.0)
    return DiffRow("entry", name, "conv", verdict, before_ns, after_ns, delta_ns, None, None, None, *calls, 20, 20)


def figures(median_ns: float) -> Figures:
    """Of one process."""
    return Figures(median_ns, median_ns * 1.5, 100, 1e9 / median_ns, 300 << 20, 40 << 20)


def proof(name: str = "Net", **changes: Any) -> Optimization:
    """``name`` stands wherever a program may name something."""
    comparison = Comparison(
        "runs/eager",
        "runs/changed",
        (change(f"{name}.conv", 2e6, 1e6, "faster"), change(f"{name}.norm", 5e5, None, "removed")),
        (change("aten::convolution", 2e6, 1e6, "faster"), change("mkldnn::fused", None, 2e5, "added")),
        (),
    )
    measured: dict[str, Any] = {
        "predicted": 1.4,
        "numerics": {"sqnr_db": 120.0},
        "figures": figures(1e6),
        "baseline": figures(2e6),
    }
    winner = CandidateResult(
        ("quantize",), ({"kind": "static", "min_sqnr_db": 22.0, "keep": ()},), "win", None, speedup=2.0,
        interval=(1.9, 2.1), control=(0.99, 1.01), confirmed=True, kept_in_float=(f"{name}.head",),
        comparison=comparison, code=("model = model",), compile_ns=10**9, **measured,
    )  # fmt: skip
    loser = CandidateResult(
        ("layout",), ({},), "slower", "slower than eager", speedup=0.8, interval=(0.7, 0.9), control=(0.99, 1.01),
        **measured,
    )  # fmt: skip
    failed = CandidateResult(("fold",), ({},), "failed", f"RuntimeError: {name}", 1.1)
    made: dict[str, Any] = {
        "command": ("python", "serve.py"), "root": name, "mode": "inference", "call": 3,
        "signatures": ("(float32[1])",), "device": "cpu", "threads": 1, "profile": "runs/first",
        "baseline": figures(2e6),
        "candidates": (winner, loser, failed), "winner": winner, "complete": True, "ended_by": None,
        "handover": HandOver("out.py", Check(1.9, (1.8, 2.0), None), (), None, f"{name} cannot be exported"),
    }  # fmt: skip
    return Optimization(**{**made, **changes})
