"""Sources of data. In the parent: counters, registered in ``counter_collectors``; in the profiled process: recorders.

Register a new counter collector by adding its class below; nothing else needs to know of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepseek_prof.config import RunSettings
    from deepseek_prof.interfaces import CounterCollector, ProcessSampler


def counter_collectors() -> tuple[CounterCollector, ...]:
    """One of each, for one recording."""
    # Imported here: this package is imported in the user's process too, whose environment may lack psutil.
    from deepseek_prof.collectors.amd_metrics import AmdMetrics
    from deepseek_prof.collectors.nvidia_metrics import NvidiaMetrics
    from deepseek_prof.collectors.process_metrics import ProcessMetrics

    return (ProcessMetrics(), NvidiaMetrics(), AmdMetrics())


def process_samplers(settings: RunSettings) -> tuple[ProcessSampler, ...]:
    """What samples the recorded processes from outside, for one recording."""
    if not settings.python_stacks:
        return ()
    from deepseek_prof.collectors.python_stacks import PythonStacks

    return (PythonStacks(settings.stacks_rate_hz, native=settings.native_stacks),)
