"""Convolution, ReLU and pooling in one launch: where it applies, and that its kernel computes what PyTorch does."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepseek_prof.optimizer import conv_pool
from deepseek_prof.optimizer.fuse_operators import fuse_operators, fusion_of
from tests.support.optimizing import fresh_compiler

PROGRAM = Path(__file__).parent / "programs" / "conv_pool.py"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="no Triton on this platform")
IMAGES = torch.randn(2, 4, 12, 12)
WEIGHT = torch.randn(8, 4, 3, 3)


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    with fresh_compiler():
        yield


def found_in(function: Callable[..., Any], *inputs: Any, **options: Any) -> list[conv_pool.Shape]:
    """Shapes of the sites in what Dynamo captures of a function."""
    found: list[conv_pool.Shape] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        found.extend(site.shape for site in conv_pool.sites(graph))
        return graph

    with torch.no_grad():
        torch.compile(function, backend=backend, fullgraph=True, **options)(*inputs)
    return found


@needs_triton
def test_the_kernel_computes_what_pytorch_does() -> None:
    ended = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    cases = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(cases) == 4 * 3 + 2
    for case in cases:
        assert case["shape"], case
        assert case["nan"], case
        assert case["error"] < (1e-3 if case["name"] == "half" else 1e-5), case


@needs_triton
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("element", ["fp32", "bf16"])
def test_the_kernel_compiles_for_gpus(capability: int, element: str) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from deepseek_prof.optimizer.conv_pool_kernel import _CONFIGS, _conv_relu_max_pool

    function = _conv_relu_max_pool.fn
    parameters = list(inspect.signature(function.fn).parameters)
    constants: dict[str, Any] = {name: 1 for name in parameters if name.isupper()}
    constants |= {"KERNEL_H": 3, "KERNEL_W": 3, "POOL_H": 2, "POOL_W": 2, "POOL_STRIDE_H": 2, "POOL_STRIDE_W": 2}
    constants |= {"HAS_BIAS": True, "PRECISION": "ieee", **_CONFIGS[0].kwargs}
    types = dict.fromkeys(("image", "weight", "bias", "out"), f"*{element}")
    signature = {name: "constexpr" if name.isupper() else types.get(name, "i32") for name in parameters}
    made = triton.compile(
        ASTSource(
            function, signature, constexprs={(parameters.index(name),): value for name, value in constants.items()}
        ),
        target=GPUTarget("cuda", capability, 32),
    )
    assert f".target sm_{capability}" in made.asm["ptx"]
    assert made.asm["ptx"].count(".entry") == 1


def test_finds_the_chain_and_its_numbers() -> None:
    module = nn.Sequential(nn.Conv2d(4, 8, (3, 5), (1, 2), (1, 0)), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    (shape,) = found_in(module, IMAGES)
    assert (shape.image, shape.weight, shape.has_bias) == ((2, 4, 12, 12), (8, 4, 3, 5), True)
    assert (shape.stride, shape.padding, shape.dilation) == ((1, 2), (1, 0), (1, 1))
    assert (shape.pool, shape.pool_stride, shape.pool_padding) == ((3, 3), (2, 2), (1, 1))
    assert found_in(lambda x: torch.max_pool2d(F.conv2d(x, WEIGHT).relu(), 2), IMAGES)[0].pool_stride == (2, 2)


def used_twice(images: torch.Tensor) -> Any:
    middle = torch.relu(torch.conv2d(images, WEIGHT))
    return F.max_pool2d(middle, 2), middle


@pytest.mark.parametrize(
    "function",
    [
        used_twice,
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x, WEIGHT)), 2, ceil_mode=True),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x, WEIGHT)), 2, dilation=2),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x, WEIGHT)), 2, return_indices=True),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x, WEIGHT[:, :1], groups=4)), 2),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x, WEIGHT, padding="same")), 2),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x[0], WEIGHT)), 2),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x.double(), WEIGHT.double())), 2),
        lambda x: F.max_pool2d(torch.sigmoid(torch.conv2d(x, WEIGHT)), 2),
        lambda x: F.avg_pool2d(torch.relu(torch.conv2d(x, WEIGHT)), 2),
        lambda x: F.max_pool2d(torch.relu(torch.conv_transpose2d(x, WEIGHT.transpose(0, 1))), 2),
        lambda x: F.max_pool2d(torch.relu(torch.conv2d(x[:1].expand(3, 4, 12, 12), WEIGHT)), 2),
        lambda x: F.max_pool2d(torch.relu(x), 2),
        lambda x: F.max_pool2d(x, 2),
    ],
)
def test_leaves_alone_what_is_another_chain(function: Callable[..., Any]) -> None:
    assert found_in(function, IMAGES) == []


def test_leaves_alone_what_has_no_fixed_size() -> None:
    assert found_in(lambda x: F.max_pool2d(torch.relu(torch.conv2d(x, WEIGHT)), 2), IMAGES, dynamic=True) == []


def new_stem() -> Any:
    """A chain of a class of its own, for which nothing is settled yet."""

    @fuse_operators
    class Stem(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return F.max_pool2d(torch.relu(self.conv(images)), 2)

    return Stem().eval()


def decide(monkeypatch: pytest.MonkeyPatch, enter: Callable[[], Any]) -> int:
    """How many sites the decorator's backend would hand to the measurement, on a machine that has Triton."""
    asked: list[conv_pool.Site] = []

    def replace(graph: torch.fx.GraphModule, chosen: Callable[[conv_pool.Site], bool]) -> int:
        asked.extend(conv_pool.sites(graph))
        assert not any(chosen(site) for site in asked), "on the CPU none is chosen, and none measured"
        return 0

    monkeypatch.setattr(conv_pool, "has_triton", lambda: True)
    monkeypatch.setattr(conv_pool, "replace", replace)
    with enter():
        new_stem()(IMAGES)
    return len(asked)


def test_only_without_gradients_and_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide(monkeypatch, torch.no_grad) == 1
    assert decide(monkeypatch, torch.inference_mode) == 1
    assert decide(monkeypatch, torch.enable_grad) == 0
    with torch.no_grad(), monkeypatch.context() as patched:  # autocast of CUDA cannot be entered without it
        patched.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
        assert conv_pool.fuse_pools(torch.fx.GraphModule({}, torch.fx.Graph())) == 0
        patched.setattr(torch, "is_autocast_enabled", lambda device: False)
        patched.setattr(conv_pool, "replace", lambda graph, chosen: 7)
        assert conv_pool.fuse_pools(torch.fx.GraphModule({}, torch.fx.Graph())) == 7


@pytest.mark.gpu
@pytest.mark.parametrize("wins", [True, False])
def test_on_a_gpu_it_is_one_kernel_where_it_wins(monkeypatch: pytest.MonkeyPatch, wins: bool) -> None:
    measured: list[bool] = []

    def is_faster(shape: conv_pool.Shape, measure: Callable[[conv_pool.Shape], bool] = conv_pool.is_faster) -> bool:
        measured.append(measure(shape))
        return wins

    monkeypatch.setattr(conv_pool, "is_faster", is_faster)
    stem, images = new_stem().cuda(), IMAGES.cuda()
    with torch.inference_mode():
        found = stem(images)
        torch.testing.assert_close(found, F.max_pool2d(torch.relu(stem.conv(images)), 2), rtol=1e-3, atol=1e-3)
    assert len(measured) == 1
    (graph,) = fusion_of(stem).graphs
    assert (graph.kernels == 1) is wins
