"""A Triton kernel: convolution, bias, ReLU and maximum pooling in one launch; imported only where there is Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch.library import triton_op, wrap_triton

OPERATOR = "deepseek_prof::conv_relu_max_pool"

_CONFIGS = [
    triton.Config({"BLOCK_P": positions, "BLOCK_O": channels, "BLOCK_K": depth}, num_warps=warps, num_stages=stages)
    for positions, channels, depth, warps, stages in (
        (64, 32, 32, 4, 3),
        (32, 32, 32, 4, 3),
        (64, 64, 32, 4, 3),
        (128, 32, 32, 4, 3),
        (128, 64, 32, 8, 3),
        (64, 64, 64, 8, 2),
    )
]


@triton.autotune(
    # The interpreter has no clock that would mean anything.
    configs=_CONFIGS[:1] if triton.knobs.runtime.interpret else _CONFIGS,
    key=["positions", "channels", "depth", "KERNEL_H", "KERNEL_W", "STRIDE_H", "STRIDE_W", "POOL_H", "POOL_W"],
)
@triton.jit
def _conv_relu_max_pool(
    image,
    weight,
    bias,
    out,
    positions,
    channels,
    depth,
    image_h,
    image_w,
    conv_h,
    conv_w,
    pooled_h,
    pooled_w,
    image_stride_n,
    image_stride_c,
    image_stride_h,
    image_stride_w,
    weight_stride_o,
    weight_stride_c,
    weight_stride_h,
    weight_stride_w,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    STRIDE_H: tl.constexpr,
    STRIDE_W: tl.constexpr,
    PAD_H: tl.constexpr,
    PAD_W: tl.constexpr,
    DILATION_H: tl.constexpr,
    DILATION_W: tl.constexpr,
    POOL_H: tl.constexpr,
    POOL_W: tl.constexpr,
    POOL_STRIDE_H: tl.constexpr,
    POOL_STRIDE_W: tl.constexpr,
    POOL_PAD_H: tl.constexpr,
    POOL_PAD_W: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A program makes BLOCK_P pooled positions of BLOCK_O channels: a product for each place of the pooling window."""
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    column = position % pooled_w
    line = (position // pooled_w) % pooled_h
    example = (position // (pooled_w * pooled_h)).to(tl.int64)
    best = tl.full((BLOCK_P, BLOCK_O), float("-inf"), tl.float32)
    for place in range(POOL_H * POOL_W):
        conv_y = line * POOL_STRIDE_H - POOL_PAD_H + place // POOL_W
        conv_x = column * POOL_STRIDE_W - POOL_PAD_W + place % POOL_W
        inside = (position < positions) & (conv_y >= 0) & (conv_y < conv_h) & (conv_x >= 0) & (conv_x < conv_w)
        total = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
        for start in range(0, depth, BLOCK_K):
            # All taps of all input channels as one dimension, so that an image of three channels fills a block too.
            k = start + tl.arange(0, BLOCK_K)
            tap = k % (KERNEL_H * KERNEL_W)
            y = (conv_y * STRIDE_H - PAD_H)[:, None] + (tap // KERNEL_W * DILATION_H)[None, :]
            x = (conv_x * STRIDE_W - PAD_W)[:, None] + (tap % KERNEL_W * DILATION_W)[None, :]
            readable = inside[:, None] & (k < depth)[None, :] & (y >= 0) & (y < image_h) & (x >= 0) & (x < image_w)
            offsets = (example * image_stride_n)[:, None] + (k // (KERNEL_H * KERNEL_W) * image_stride_c)[None, :]
            pixels = tl.load(image + offsets + y * image_stride_h + x * image_stride_w, mask=readable, other=0.0)
            present = (k < depth)[:, None] & (channel < channels)[None, :]
            taps = k // (KERNEL_H * KERNEL_W) * weight_stride_c + tap // KERNEL_W * weight_stride_h
            taps += tap % KERNEL_W * weight_stride_w
            factors = tl.load(weight + (channel * weight_stride_o)[None, :] + taps[:, None], mask=present, other=0.0)
            total = tl.dot(pixels, factors, total, input_precision=PRECISION)
        candidate = tl.where(inside[:, None], total, float("-inf"))
        best = tl.maximum(best, candidate, propagate_nan=tl.PropagateNan.ALL)
    # Bias and ReLU keep the order of numbers, so that they may come after the maximum, once.
    if HAS_BIAS:
        best += tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)[None, :]
    best = tl.maximum(best, 0.0, propagate_nan=tl.PropagateNan.ALL)
    area = pooled_h * pooled_w
    target = (example * channels * area + position % area)[:, None] + (channel * area)[None, :]
    stored = (position < positions)[:, None] & (channel < channels)[None, :]
    tl.store(out + target, best.to(out.dtype.element_ty), mask=stored)


@triton_op(OPERATOR, mutates_args=())
def conv_relu_max_pool(
    image: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    pool: list[int],
    pool_stride: list[int],
    pool_padding: list[int],
) -> torch.Tensor:
    """``max_pool2d(relu(conv2d(image, weight, bias)))`` in one launch.

    Args:
        image: (n, channels, height, width), of any strides.
        weight: (out channels, channels, height, width) of the same type, of any strides, of one group.
        bias: (out channels,) or None.
        stride, padding, dilation: of the convolution, two numbers each.
        pool, pool_stride, pool_padding: of the pooling, two numbers each.

    Returns:
        (n, out channels, pooled height, pooled width), contiguous.
    """
    kernel = [weight.shape[2], weight.shape[3]]
    conv = [
        (image.shape[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)
    ]
    pooled = [(conv[i] + 2 * pool_padding[i] - pool[i]) // pool_stride[i] + 1 for i in range(2)]
    out = torch.empty((image.shape[0], weight.shape[0], pooled[0], pooled[1]), dtype=image.dtype, device=image.device)
    positions = image.shape[0] * pooled[0] * pooled[1]
    channels = weight.shape[0]

    def grid(meta: dict[str, int]) -> tuple[int, int]:
        return triton.cdiv(positions, meta["BLOCK_P"]), triton.cdiv(channels, meta["BLOCK_O"])

    wrap_triton(_conv_relu_max_pool)[grid](
        image,
        weight,
        out if bias is None else bias.contiguous(),
        out,
        positions,
        channels,
        weight.shape[1] * kernel[0] * kernel[1],
        image.shape[2],
        image.shape[3],
        conv[0],
        conv[1],
        pooled[0],
        pooled[1],
        image.stride(0),
        image.stride(1),
        image.stride(2),
        image.stride(3),
        weight.stride(0),
        weight.stride(1),
        weight.stride(2),
        weight.stride(3),
        KERNEL_H=kernel[0],
        KERNEL_W=kernel[1],
        STRIDE_H=stride[0],
        STRIDE_W=stride[1],
        PAD_H=padding[0],
        PAD_W=padding[1],
        DILATION_H=dilation[0],
        DILATION_W=dilation[1],
        POOL_H=pool[0],
        POOL_W=pool[1],
        POOL_STRIDE_H=pool_stride[0],
        POOL_STRIDE_W=pool_stride[1],
        POOL_PAD_H=pool_padding[0],
        POOL_PAD_W=pool_padding[1],
        HAS_BIAS=bias is not None,
        # As cuDNN would, by the program's own setting.
        PRECISION="tf32" if torch.backends.cudnn.allow_tf32 else "ieee",
    )
    return out
