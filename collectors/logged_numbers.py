"""The training figures in a record of ``logging``: ``loss=0.25``, ``Epoch 3: val_acc: 91.5``, or a mapping of numbers.

Standard library only: it runs in the user's environment.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

MAX_MESSAGE = 2_000
"""Longer messages are no lines of figures."""
_MAX_FIGURES = 32

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)\b"
_PAIR = re.compile(
    rf"(?<![\w./-])['\"]?(?P<name>[A-Za-z][\w./@-]{{0,79}})['\"]?\s*(?:=|:\s)\s*['\"]?(?P<value>{_NUMBER})(?![\w.:/-])",
    re.IGNORECASE,
)
# A port, a process id or a size is no figure of the training: only names made of such words are taken from text.
_WORDS = re.compile(
    r"(?:^|[^a-z])(?:loss(?:es)?|acc(?:uracy)?|ppl|perplexity|f1|auc|auroc|precision|recall|iou|miou|map|mse|rmse|mae|psnr|"
    r"ssim|bleu|rouge\w*|wer|cer|fid|elbo|kl|nll|bpc|bpb|reward|returns?|score|error|err|metric|lr|learning_rate|"
    r"grad_norm|gradnorm|top[15]|acc[@_]?\d*|r2|mcc|dice)(?:$|[^a-z])",
    re.IGNORECASE,
)


def numbers_in(record: logging.LogRecord) -> dict[str, Any]:
    """The figures that the record tells, by name: of a mapping all numbers, of a text those that are called as such."""
    told = _mapping(record)
    if told is not None:
        figures = {str(key): value for key, value in told.items() if not isinstance(value, str | bytes | bool)}
        return dict(list(figures.items())[:_MAX_FIGURES])
    if record.levelno < logging.INFO:
        return {}
    text = record.getMessage()
    if len(text) > MAX_MESSAGE or not _WORDS.search(text):
        return {}
    found: dict[str, Any] = {}
    for match in _PAIR.finditer(text):
        if _WORDS.search(match["name"]) and len(found) < _MAX_FIGURES:
            found.setdefault(match["name"], float(match["value"]))
    return found


def _mapping(record: logging.LogRecord) -> Mapping[Any, Any] | None:
    """A record whose message is a mapping, or nothing but one: ``info(figures)``, ``info("%s", figures)``."""
    message: Any = record.msg
    if isinstance(message, Mapping):
        return message
    if isinstance(record.args, Mapping) and str(message).strip() in ("%s", "%r"):
        return record.args
    return None
