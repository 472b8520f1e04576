"""Serves a model to many callers: :class:`DynamicBatcher` joins their calls into batches; see docs/serving.md."""

from __future__ import annotations

from deepseek_prof.serving.batcher import DynamicBatcher
from deepseek_prof.serving.padding import Padding
from deepseek_prof.serving.statistics import Statistics

__all__ = ["DynamicBatcher", "Padding", "Statistics"]
