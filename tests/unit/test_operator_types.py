"""The operator type table on names as PyTorch gives them."""

from __future__ import annotations

import pytest

from deepseek_prof.model import Kind
from deepseek_prof.operator_types import OPERATOR_TYPES, operator_type

NAMES = {
    "matmul": "aten::mm aten::addmm aten::linear aten::bmm aten::baddbmm AddmmBackward0 MmBackward0 aten::matmul "
    "aten::lstm",
    "conv": "aten::conv2d aten::convolution aten::_convolution aten::mkldnn_convolution ConvolutionBackward0 "
    "aten::convolution_backward aten::thnn_conv2d",
    "attention": "aten::scaled_dot_product_attention aten::_scaled_dot_product_flash_attention_for_cpu "
    "ScaledDotProductFlashAttentionForCpuBackward0",
    "norm": "aten::layer_norm aten::native_layer_norm aten::native_layer_norm_backward NativeLayerNormBackward0 "
    "aten::batch_norm aten::native_batch_norm aten::cudnn_batch_norm aten::_batch_norm_impl_index",
    "activation": "aten::relu aten::relu_ aten::gelu aten::gelu_backward ReluBackward0 aten::threshold_backward "
    "aten::silu",
    "elementwise": "aten::add aten::add_ aten::mul MulBackward0 aten::_foreach_add_ aten::pow aten::div_ "
    "torch::autograd::AccumulateGrad aten::sqrt aten::_foreach_addcdiv_",
    "reduction": "aten::sum aten::mean aten::sum.dim_IntList SumBackward1 aten::max aten::linalg_vector_norm aten::any",
    "softmax": "aten::softmax aten::_softmax aten::_log_softmax aten::_softmax_backward_data LogSoftmaxBackward0",
    "embedding": "aten::embedding EmbeddingBackward0 aten::embedding_dense_backward",
    "pooling": "aten::max_pool2d aten::max_pool2d_with_indices MaxPool2DWithIndicesBackward0 aten::adaptive_avg_pool2d",
    "loss": "aten::cross_entropy_loss aten::nll_loss_forward NllLossBackward0 aten::mse_loss "
    "aten::binary_cross_entropy_with_logits",
    "copy": "aten::copy_ aten::clone aten::to aten::_to_copy ToCopyBackward0 aten::item aten::_local_scalar_dense",
    "layout": "aten::view aten::transpose aten::t TBackward0 aten::as_strided UnsafeViewBackward0 aten::expand "
    "aten::detach",
    "index": "aten::index aten::index_select aten::cat aten::gather aten::masked_fill_ CatBackward0 aten::stack "
    "aten::where",
    "random": "aten::dropout aten::native_dropout aten::randn aten::normal_ aten::bernoulli_ aten::randperm "
    "aten::uniform_",
    "memory": "aten::empty aten::empty_strided aten::zeros_like aten::fill_ aten::zero_ aten::ones",
    "optimizer": "aten::_fused_adamw_ aten::_fused_sgd_",
}


@pytest.mark.parametrize(
    ("name", "expected"), [(name, kind) for kind, names in NAMES.items() for name in names.split()]
)
def test_operators(name: str, expected: str) -> None:
    assert operator_type(name, Kind.AUTOGRAD if "Backward" in name else Kind.OP) == expected


def test_an_autograd_frame_has_the_type_of_its_node() -> None:
    assert operator_type("autograd::engine::evaluate_function: AddmmBackward0", Kind.AUTOGRAD) == "matmul"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Optimizer.step#AdamW.step", Kind.USER, "optimizer"),
        ("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", Kind.DATA, "data"),
        ("encoder.conv1", Kind.LAYER, "other"),
        ("my add", Kind.USER, "other"),
        ("step", Kind.STEP, "other"),
        ("c10d::allreduce_", Kind.COLLECTIVE, "collective"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor>", Kind.KERNEL, "memory"),
        ("ampere_sgemm_128x64_tn", Kind.KERNEL, "matmul"),
        ("ncclDevKernel_AllReduce_Sum_f32_RING_LL", Kind.KERNEL, "collective"),
        ("Memcpy HtoD (Pageable -> Device)", Kind.MEMCPY, "copy"),
        ("mylib::frobnicate", Kind.OP, "other"),
        ("", Kind.OP, "other"),
    ],
)
def test_kinds(name: str, kind: Kind, expected: str) -> None:
    assert operator_type(name, kind) == expected


def test_every_answer_is_in_the_list() -> None:
    assert set(NAMES) <= set(OPERATOR_TYPES)
