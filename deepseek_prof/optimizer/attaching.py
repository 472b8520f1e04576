"""How our half begins in a program that the parent has started: its job, its connection, and equal random numbers.

Standard library and torch only.
"""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

import torch

from deepseek_prof.optimizer.channel import Channel

SEED = 20_240_229


def attached() -> tuple[Channel, dict[str, Any]] | None:
    """The connection to the parent and the job; None in a process that is not the program itself.

    Programs that seed nothing meet the same weights and inputs in each candidate.
    """
    job = json.loads(os.environ["DEEPSEEK_PROF_JOB"])
    if os.getppid() != job["parent_pid"]:
        return None
    random.seed(SEED)
    torch.manual_seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
    return Channel.connect(job["socket"]), job
