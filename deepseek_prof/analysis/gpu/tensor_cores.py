"""Whether a kernel uses tensor cores (AMD: matrix cores), by its name: a trace holds no hardware counter for it.

Sources: NVIDIA's list in PyProf (pyprof/prof/tc.py at fd1b2902), which torch's TensorBoard plug-in and TensorFlow's
kernel statistics use too; the naming of CUTLASS kernels (``tensorop`` against ``simt``) and of cuBLAS and cuDNN from
CUDA 11 on (``tensor16x8x16`` against ``ffma`` in ``xmma`` kernels, ``nvjet`` from CUDA 12.6 on); FlashAttention's and
memory-efficient attention's kernels as PyTorch builds them; Tensile's ``_MI32x32x8`` and Composable Kernel's ``xdl``.
"""

from __future__ import annotations

import re
from functools import lru_cache

_PYPROF = """h884 s884 h1688 s1688 hmma i8816 16816 dgrad_1x1_stride_2x2 first_layer_wgrad_kernel conv1x1 conv2d_c1_k1
    direct_group xmma_implicit_gemm xmma_sparse_conv xmma_warp_specialized_implicit_gemm xmma_gemm xmma_sparse_gemm
    c1688"""
_NEWER = "i16832 s161616 tensorop tensor16x8x nvjet_ wgmma bmma flash_fwd flash_bwd cudnn_generated_fort_native_sdpa"
_AMD = "mfma xdlops xdl_ wmma"
_USING = tuple((_PYPROF + " " + _NEWER + " " + _AMD).split())
_TENSILE = re.compile(r"_MI\d+x\d+")
_EFFICIENT_ATTENTION = re.compile(r"fmha_cutlass[FB]_(?:f16|bf16)_")
_NOT_USING = ("simt", "_ffma", "ffma_", "_dfma", "sgemm", "dgemm", "_scudnn_")
"""Fused multiply-add on ordinary cores, whatever else the name says."""
_ORDINARY_TRITON = ("triton_poi_", "triton_red_", "triton_per_", "triton_for_")
"""Inductor's elementwise and reduction kernels; its templates, ``triton_tem_``, may or may not."""


@lru_cache(maxsize=4096)
def uses_tensor_cores(name: str) -> bool | None:
    """Whether a kernel of this name does; None where the name cannot tell (Triton's kernels)."""
    if any(each in name for each in _NOT_USING):
        return False
    if any(each in name for each in _USING) or _EFFICIENT_ATTENTION.search(name) or _TENSILE.search(name):
        return True
    if "triton" in name and not name.startswith(_ORDINARY_TRITON):
        return None
    return False
