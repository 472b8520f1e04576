"""The one table from operator and kernel names to operator types.

A name is first brought to its plain form (``autograd::engine::evaluate_function: AddmmBackward0`` → ``addmm``), looked
up among exact names, then matched against patterns from the special to the general. What nothing matches is ``other``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from deepseek_prof.model import Kind

OPERATOR_TYPES = (
    "matmul",
    "conv",
    "attention",
    "norm",
    "activation",
    "elementwise",
    "reduction",
    "softmax",
    "embedding",
    "pooling",
    "loss",
    "copy",
    "layout",
    "index",
    "random",
    "memory",
    "optimizer",
    "collective",
    "data",
    "other",
)

_BY_KIND = {
    Kind.LAYER: "other",
    Kind.STEP: "other",
    Kind.PHASE: "other",
    Kind.SYNC: "other",
    Kind.RUNTIME: "other",
    Kind.PYTHON: "other",
    Kind.COLLECTIVE: "collective",
    Kind.DATA: "data",
    Kind.MEMCPY: "copy",
    Kind.MEMSET: "memory",
}

_EXACT_NAMES = {
    "matmul": """mm bmm addmm baddbmm addbmm addmv addr mv dot vdot matmul linear bilinear einsum tensordot inner
        outer ger chain_matmul linalg_multi_dot mkldnn_linear fbgemm_linear sparse_mm""",
    "attention": "scaled_dot_product_attention multi_head_attention_forward flex_attention",
    "norm": "layer_norm batch_norm group_norm instance_norm rms_norm local_response_norm weight_norm renorm",
    "activation": """relu relu_ relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh
        hardshrink softshrink threshold sigmoid tanh softplus log_sigmoid glu prelu rrelu swish""",
    "softmax": "softmax _softmax log_softmax _log_softmax masked_softmax _masked_softmax logsumexp",
    "embedding": "embedding embedding_bag _embedding_bag embedding_renorm",
    "copy": "copy clone to _to_copy to_copy contiguous type_as float half double lift_fresh detach_copy "
    "_local_scalar_dense item",
    "layout": """view reshape _reshape_alias _unsafe_view unsafe_view transpose t permute expand expand_as squeeze
        unsqueeze flatten unflatten as_strided select slice narrow split split_with_sizes chunk unbind movedim
        swapaxes numpy_t alias detach view_as view_as_real view_as_complex real imag diagonal unfold unsafe_split
        unsafe_chunk ravel lift resolve_conj resolve_neg conj result_type broadcast_tensors broadcast_to
        contiguous_format mt adjoint tensor_split hsplit vsplit""",
    "index": """index index_put _index_put_impl index_select index_add index_copy index_fill gather scatter
        scatter_add scatter_reduce masked_fill masked_select masked_scatter take take_along_dim put nonzero where
        searchsorted bucketize sort argsort topk unique _unique2 cat concat stack hstack vstack roll flip tril triu
        repeat repeat_interleave one_hot constant_pad_nd pad select_scatter slice_scatter""",
    "random": """rand randn randint randperm rand_like randn_like bernoulli dropout native_dropout feature_dropout
        alpha_dropout normal uniform multinomial exponential random cauchy geometric poisson""",
    "memory": """empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like ones ones_like full
        full_like new_zeros new_ones new_full zero fill resize resize_as set arange linspace eye scalar_tensor tensor
        set_data _efficientzerotensor record_stream pin_memory is_pinned""",
    "reduction": """sum mean max min amax amin aminmax prod norm linalg_vector_norm linalg_norm std var std_mean
        var_mean argmax argmin any all cumsum cumprod median mode nansum count_nonzero sum_to_size logcumsumexp
        kthvalue equal is_nonzero allclose _foreach_norm""",
    "elementwise": """add sub rsub mul div neg abs pow exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin
        cos tan asin acos atan atan2 sinh cosh erf erfc erfinv floor ceil round trunc frac fmod remainder clamp
        clamp_min clamp_max clip maximum minimum eq ne lt le gt ge logical_and logical_or logical_not logical_xor
        bitwise_and bitwise_or bitwise_not bitwise_xor isnan isinf isfinite sign sgn square addcmul addcdiv lerp
        true_divide floor_divide hypot sigmoid_ accumulategrad accumulate_grad nan_to_num heaviside softsign __and__
        __or__ __xor__ __rsub__ _conj""",
    "collective": "allreduce all_reduce allgather all_gather reduce_scatter broadcast barrier alltoall send recv",
}

_EXACT = {name: operator_type for operator_type, names in _EXACT_NAMES.items() for name in names.split()}

_PATTERNS = tuple(
    (re.compile(pattern), operator_type)
    for pattern, operator_type in (
        (r"^_?c10d|^nccl|^gloo|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all", "collective"),
        (r"dataloader", "data"),
        (r"^optimizer\.|fused_(adam|adamw|sgd|adagrad|lion|lamb)|multi_tensor_apply.*(adam|sgd)", "optimizer"),
        (r"flash|fmha|scaled_dot_product|attention|mem_?efficient", "attention"),
        (r"cross_entropy|nll_loss|mse_loss|l1_loss|smooth_l1|huber|kl_div|_loss|bce|hinge|binary_cross", "loss"),
        (r"softmax|logsumexp", "softmax"),
        (r"lstm|gru|rnn", "matmul"),
        (r"conv(?!ert)|wgrad|dgrad|winograd|implicit_gemm|im2col|col2im", "conv"),
        (r"(layer|batch|group|instance|rms|cudnn_batch|bn_fw|bn_bw)_?norm|weight_norm|bn_fw|bn_bw", "norm"),
        (r"embedding", "embedding"),
        (r"max_?pool|avg_?pool|adaptive_\w*pool|_pool\d?d|upsample|interpolate|grid_sampl", "pooling"),
        (r"dropout|bernoulli|philox|distribution|random|rand", "random"),
        (r"gemm|cutlass|matmul|_mm\b|\bmm_|cublas|gemv|xmma|sgemm|hgemm|_linear\b|linear_|splitk", "matmul"),
        (r"gelu|relu|silu|sigmoid|tanh|hardswish|elu|threshold|softplus|mish|glu", "activation"),
        (r"_foreach_norm|reduce|_sum\b|_mean\b|cumsum|argmax|argmin|norm", "reduction"),
        (r"memset|fill|empty|zeros|alloc", "memory"),
        (r"memcpy|copy|clone|_to_cpu", "copy"),
        (r"index|gather|scatter|catarray|masked|sort|topk|nonzero", "index"),
        (r"transpose|permute|view|reshape|expand|stride", "layout"),
        (
            r"^_foreach_|elementwise|vectorized|pointwise|add|mul|div|sub|pow|sqrt|clamp|compare|bitwise|logical",
            "elementwise",
        ),
    )
)

_EVALUATE = "autograd::engine::evaluate_function: "
_BACKWARD = re.compile(r"(?:Backward|DoubleBackward|BackwardBackward)\d*$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_VARIANTS = re.compile(r"^(?:native_|cudnn_|miopen_|mkldnn_|_mkldnn_|_native_)|(?:_backward\w*|_forward|_out|_copy|_)$")


@lru_cache(maxsize=1 << 16)
def operator_type(name: str, kind: Kind) -> str:
    """The operator type of a span's name: one of :data:`OPERATOR_TYPES`, by the table of this file."""
    by_kind = _BY_KIND.get(kind)
    if by_kind is not None:
        return by_kind
    plain = plain_operator_name(name)
    shorter = _VARIANTS.sub("", plain)
    for candidate in (plain, shorter, _VARIANTS.sub("", shorter)):
        if candidate in _EXACT:
            return _EXACT[candidate]
    if kind is Kind.USER and not name.startswith("Optimizer."):
        return "other"
    lowered = plain.lower()  # kernels are named in camel case
    for pattern, matched_type in _PATTERNS:
        if pattern.search(lowered):
            return matched_type
    return "other"


def plain_operator_name(name: str) -> str:
    """The name without namespace, overload and autograd dress, in snake case: ``AddmmBackward0`` → ``addmm``."""
    plain = name.removeprefix(_EVALUATE)
    if plain.startswith(("Optimizer.", "enumerate(DataLoader)", "c10d::", "_c10d_functional::", "nccl:", "gloo:")):
        return plain.lower()
    if "::" in plain and "<" not in plain and "(" not in plain:
        plain = plain.rsplit("::", 1)[1].partition(".")[0]
    stripped = _BACKWARD.sub("", plain)
    if stripped[:1].isupper():
        stripped = _CAMEL.sub("_", stripped).lower()
    return stripped
