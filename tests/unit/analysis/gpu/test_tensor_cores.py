"""Which kernels use tensor cores, by names that cuBLAS, cuDNN, CUTLASS, Triton and ROCm gave in real traces."""

from __future__ import annotations

import pytest

from deepseek_prof.analysis.gpu.tensor_cores import uses_tensor_cores


@pytest.mark.parametrize(
    "name",
    [
        "volta_h884gemm_64x64_ldg8_nn",
        "volta_fp16_s884cudnn_fp16_256x64_ldg8_relu_exp_interior_nhwc_tn_v1",
        "turing_fp16_s1688gemm_fp16_128x128_ldg8_f2f_tn",
        "ampere_fp16_s16816gemm_fp16_64x64_sliced1x2_ldg8_f2f_stages_64x5_tn",
        "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_64x64_16x6_nn_align4>(Params)",
        "sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16_stage4_g1_tensor16x8x8",
        "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT",
        "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128, 128, 4>>",
        "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel)",
        "Cijk_Alik_Bljk_HHS_BH_MT128x128x32_MI32x32x8x1_SN_1LDSB0",
    ],
)
def test_kernels_that_do(name: str) -> None:
    assert uses_tensor_cores(name) is True


@pytest.mark.parametrize(
    "name",
    [
        "volta_sgemm_64x64_nt",
        "cudnn_infer_volta_scudnn_128x64_relu_medium_nn_v1",
        "sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8_stage3_ffma_aligna4_execute_kernel__51_cublas",
        "void cutlass::Kernel<cutlass_80_simt_sgemm_128x64_8x5_tn_align1>(Params)",
        "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
        "triton_poi_fused_add_relu_0",
        "triton_per_fused_native_layer_norm_3",
        "ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)",
        "Memcpy HtoD (Pinned -> Device)",
    ],
)
def test_kernels_that_do_not(name: str) -> None:
    assert uses_tensor_cores(name) is False


@pytest.mark.parametrize("name", ["triton_tem_fused_addmm_relu_1", "_my_triton_attention"])
def test_names_of_triton_do_not_tell(name: str) -> None:
    assert uses_tensor_cores(name) is None
