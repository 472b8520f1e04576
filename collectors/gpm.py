"""NVML's GPU performance monitor (GPM; Hopper and later): activity of a GPU's units between two samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PERCENT = {
    "sm_activity": "NVML_GPM_METRIC_SM_UTIL",
    "sm_occupancy": "NVML_GPM_METRIC_SM_OCCUPANCY",
    "tensor_activity": "NVML_GPM_METRIC_ANY_TENSOR_UTIL",
    "dram_bandwidth": "NVML_GPM_METRIC_DRAM_BW_UTIL",
}
_MIB_PER_S = {
    "pcie_tx": "NVML_GPM_METRIC_PCIE_TX_PER_SEC",
    "pcie_rx": "NVML_GPM_METRIC_PCIE_RX_PER_SEC",
    "nvlink_tx": "NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC",
    "nvlink_rx": "NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC",
}


class GpmSampler:
    """Holds two samples of the driver and takes the new one into the older of them.

    Percentages are of the most that the GPU can do: of all SMs, of all warps, of the tensor cores' cycles, of the
    bandwidth of device memory.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._samples = (nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc())
        self._begun = False

    @classmethod
    def of(cls, nvml: Any, handle: Any) -> GpmSampler | None:
        """The sampler of this GPU; None where it has no monitor. Raises NVMLError."""
        return cls(nvml, handle) if nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice else None

    def read(self) -> Iterator[tuple[str, float, str]]:
        """Name, value and unit of all that the GPU tells of the time since the call before; the first call begins it.

        Raises NVMLError.
        """
        nvml = self._nvml
        before, now = self._samples
        nvml.nvmlGpmSampleGet(self._handle, now)
        self._samples = (now, before)
        if not self._begun:
            self._begun = True
            return
        wanted = [*_PERCENT.items(), *_MIB_PER_S.items()]
        asked = nvml.c_nvmlGpmMetricsGet_t()
        asked.version = nvml.NVML_GPM_METRICS_GET_VERSION
        asked.numMetrics = len(wanted)
        asked.sample1, asked.sample2 = before, now
        for index, (_, constant) in enumerate(wanted):
            asked.metrics[index].metricId = getattr(nvml, constant)
        nvml.nvmlGpmMetricsGet(asked)
        for index, (name, _) in enumerate(wanted):
            answer = asked.metrics[index]
            if answer.nvmlReturn != nvml.NVML_SUCCESS or answer.value != answer.value:
                continue  # a GPU without NVLink, or a metric that this one does not have
            if name in _PERCENT:
                yield name, float(answer.value), "percent"
            else:
                yield name, float(answer.value) * (1 << 20), "bytes/s"
