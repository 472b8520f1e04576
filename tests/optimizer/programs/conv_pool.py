"""Runs the fused kernel in Triton's interpreter, on the CPU, and writes how far it is from PyTorch, a line a case."""

import json

import torch
from torch import nn
from torch.nn import functional as F

from deepseek_prof.optimizer import conv_pool
from deepseek_prof.optimizer.conv_pool_kernel import conv_relu_max_pool

CASES = [
    # n, channels, height, width, out, kernel, stride, padding, dilation, pool, pool stride, pool padding, bias
    (2, 3, 17, 19, 20, (3, 3), (1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (0, 0), True),
    (1, 5, 12, 9, 33, (5, 3), (2, 1), (2, 0), (1, 2), (3, 2), (2, 1), (1, 0), False),
    (1, 3, 32, 32, 40, (7, 7), (2, 2), (3, 3), (1, 1), (3, 3), (2, 2), (1, 1), True),
    (3, 40, 6, 7, 8, (1, 1), (1, 1), (0, 0), (1, 1), (2, 3), (1, 1), (1, 1), True),
]
LAYOUTS = {
    "contiguous": lambda values: values,
    "channels_last": lambda values: values.contiguous(memory_format=torch.channels_last),
    "sliced": lambda values: torch.cat((values, values), 3)[..., ::2][..., : values.shape[3]],
}


def tell(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    same_nan = torch.equal(found.isnan(), expected.isnan())
    scale = expected.nan_to_num().abs().max().item()
    error = (found.nan_to_num() - expected.nan_to_num()).abs().max().item() / scale
    print(json.dumps({"name": name, "shape": found.shape == expected.shape, "nan": same_nan, "error": error}))


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 18, 3, padding=1), nn.MaxPool2d(2)

    def forward(self, images):
        return self.pool(F.relu(self.conv(images))) * 2


def compiled_stem() -> None:
    """The whole way: captured by Dynamo, replaced, and run by the interpreter."""
    replaced = []

    def backend(graph, inputs):
        replaced.append(conv_pool.replace(graph, lambda site: True))
        return graph

    stem, images = Stem().eval(), torch.randn(2, 3, 10, 12)
    with torch.no_grad():
        found = torch.compile(stem, backend=backend, fullgraph=True)(images)
        assert replaced == [1], replaced
        tell("captured", found, stem(images))


torch.manual_seed(0)
for number, (n, channels, height, width, out, kernel, *pairs, has_bias) in enumerate(CASES):
    weight = torch.randn(out, channels, *kernel)
    bias = torch.randn(out) if has_bias else None
    for layout, change in LAYOUTS.items():
        image = change(torch.randn(n, channels, height, width))
        factors = change(weight) if layout == "channels_last" else weight
        if layout == "sliced":
            image[0, 0, 2, 2] = float("nan")
        stride, padding, dilation, *pooling = pairs
        expected = F.max_pool2d(F.relu(F.conv2d(image, factors, bias, stride, padding, dilation)), *pooling)
        found = conv_relu_max_pool(image, factors, bias, *(list(pair) for pair in pairs))
        tell(f"{number} {layout}", found, expected)
half = torch.randn(1, 4, 8, 8, dtype=torch.float16), torch.randn(8, 4, 3, 3, dtype=torch.float16)
pairs = ([1, 1], [1, 1], [1, 1], [2, 2], [2, 2], [0, 0])
expected = F.max_pool2d(F.relu(F.conv2d(*(each.float() for each in half), padding=1)), 2).half()
tell("half", conv_relu_max_pool(*half, None, *pairs), expected)
compiled_stem()
