"""Losses that were NaN or infinite: what is computed from there on is worth nothing."""

from __future__ import annotations

import json

from deepseek_prof.analysis.findings.evidence import Evidence
from deepseek_prof.analysis.findings.model import Finding
from deepseek_prof.text import clean

_MAX_SHOWN = 4


def not_finite_loss(evidence: Evidence) -> Finding | None:
    """At least one ``nan_loss`` event."""
    rows = evidence.run.rows("SELECT rank, step, fields FROM logs WHERE event = 'nan_loss' ORDER BY ts_ns")
    if not rows:
        return None
    told = [
        (rank, step, json.loads(fields) if isinstance(fields, str) else fields or {}) for rank, step, fields in rows
    ]
    number = sum(1 + _count(fields.get("left_out")) for _, _, fields in told)
    several = len({rank for rank, _, _ in told}) > 1
    facts = [
        f"{clean(str(fields.get('name') or 'the loss'), 80)} was {clean(str(fields.get('value')), 20)}"
        + (f" in step {step}" if step is not None else "")
        + (f" of rank {rank}" if several else "")
        for rank, step, fields in told[:_MAX_SHOWN]
    ]
    first = told[0][1]
    return Finding(
        rule="not-finite-loss",
        title="The loss became NaN or infinite" + (f" in step {first}" if first is not None else ""),
        evidence=(*facts, f"at least {number:,} such {'loss' if number == 1 else 'losses'} in all"),
        gain_low=0.0,
        gain_high=0.0,
        advice="Steps after it train nothing. Look at the steps before it (learning rate, inputs, log or division by "
        "zero, overflow in float16): deepseek-prof logs level:error; torch.autograd.set_detect_anomaly(True) names the "
        "operation.",
        severity="high",
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
